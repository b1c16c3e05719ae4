//! Plain handler, the baseline: actix-web and sqlx, without the service's guarantees.
//!
//! A webhook is verified, parsed and stored in one PostgreSQL transaction. A submit is stored,
//! sent, and stored again. There is no evidence chain, gap-free feed, fencing or handling of doubt.

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

/// Tables of the plain handler.
pub const SCHEMA: &str = "
CREATE TABLE plain_transactions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), tracking_id text NOT NULL UNIQUE, state text NOT NULL,
    task text, uid text UNIQUE, amount bigint NOT NULL, currency text NOT NULL, request text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE plain_webhooks (
    id bigserial PRIMARY KEY, sha256 bytea NOT NULL UNIQUE, tracking_id text, body text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE plain_events (
    seq bigserial PRIMARY KEY, transaction_id uuid NOT NULL, type text NOT NULL, payload text NOT NULL,
    at timestamptz NOT NULL DEFAULT now());";

struct State {
    pool: PgPool,
    key: Vec<u8>,
    gateway: String,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Envelope {
    transaction: Ended,
}

#[derive(Deserialize)]
struct Ended {
    uid: String,
    status: String,
    tracking_id: Option<String>,
}

#[derive(Deserialize)]
struct Payment {
    tracking_id: String,
    amount: i64,
    currency: String,
}

#[derive(Deserialize)]
struct Ack {
    request_id: String,
}

type Failure = Box<dyn std::error::Error>;

async fn webhook(state: web::Data<State>, req: HttpRequest, body: web::Bytes) -> HttpResponse {
    let header = req.headers().get("content-signature");
    let signature = header.and_then(|value| STANDARD.decode(value.as_bytes()).ok());
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &state.key);
    if signature.is_none_or(|signature| key.verify(&body, &signature).is_err()) {
        return HttpResponse::Unauthorized().finish();
    }
    match record(&state, &body).await {
        Ok(()) => HttpResponse::Ok().finish(),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

async fn record(state: &State, body: &[u8]) -> Result<(), Failure> {
    let Envelope { transaction: ended } = serde_json::from_slice(body)?;
    let text = std::str::from_utf8(body)?;
    let digest = Sha256::digest(body).to_vec();
    let mut tx = state.pool.begin().await?;
    let inserted = sqlx::query(
        "INSERT INTO plain_webhooks (sha256, tracking_id, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(&digest)
    .bind(&ended.tracking_id)
    .bind(text)
    .execute(&mut *tx)
    .await?;
    if inserted.rows_affected() == 1 {
        let moved: Option<uuid::Uuid> = sqlx::query_scalar(
            "UPDATE plain_transactions SET state = $2, uid = $3, updated_at = now()
             WHERE tracking_id = $1 AND state <> $2 RETURNING id",
        )
        .bind(&ended.tracking_id)
        .bind(&ended.status)
        .bind(&ended.uid)
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(id) = moved {
            sqlx::query(
                "INSERT INTO plain_events (transaction_id, type, payload) VALUES ($1, $2, $3)",
            )
            .bind(id)
            .bind("transaction.updated")
            .bind(text)
            .execute(&mut *tx)
            .await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

async fn submit(state: web::Data<State>, body: web::Bytes) -> HttpResponse {
    match send(&state, &body).await {
        Ok(id) => {
            HttpResponse::Accepted().json(serde_json::json!({"id": id, "state": "processing"}))
        }
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

async fn send(state: &State, body: &[u8]) -> Result<uuid::Uuid, Failure> {
    let payment: Payment = serde_json::from_slice(body)?;
    let text = std::str::from_utf8(body)?;
    let mut tx = state.pool.begin().await?;
    let id: uuid::Uuid = sqlx::query_scalar(
        "INSERT INTO plain_transactions (tracking_id, state, amount, currency, request)
         VALUES ($1, 'submitting', $2, $3, $4) RETURNING id",
    )
    .bind(&payment.tracking_id)
    .bind(payment.amount)
    .bind(&payment.currency)
    .bind(text)
    .fetch_one(&mut *tx)
    .await?;
    event(&mut tx, id, "transaction.created", text).await?;
    tx.commit().await?;
    let sent = state
        .http
        .post(format!("{}/async/transactions/payments", state.gateway));
    let sent = sent.header("content-type", "application/json");
    let body = format!("{{\"request\":{text}}}");
    let answer = sent.body(body).send().await?.bytes().await?;
    let ack: Ack = serde_json::from_slice(&answer)?;
    let mut tx = state.pool.begin().await?;
    sqlx::query("UPDATE plain_transactions SET state = 'processing', task = $2, updated_at = now() WHERE id = $1")
        .bind(id)
        .bind(&ack.request_id)
        .execute(&mut *tx)
        .await?;
    event(
        &mut tx,
        id,
        "transaction.updated",
        std::str::from_utf8(&answer)?,
    )
    .await?;
    tx.commit().await?;
    Ok(id)
}

async fn event(
    tx: &mut sqlx::PgConnection,
    id: uuid::Uuid,
    kind: &str,
    payload: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO plain_events (transaction_id, type, payload) VALUES ($1, $2, $3)")
        .bind(id)
        .bind(kind)
        .bind(payload)
        .execute(tx)
        .await
        .map(drop)
}

/// Serves until it is killed. Arguments: address, database, gateway, public key.
pub fn serve(arguments: &[String]) -> Result<(), Failure> {
    let [listen, database, gateway, key] = arguments else {
        return Err("plain LISTEN DATABASE GATEWAY KEY".into());
    };
    // The PKCS#1 key starts 24 bytes into the key info of a 2048-bit key.
    let key = STANDARD.decode(key)?.split_off(24);
    let _ = rustls::crypto::ring::default_provider().install_default();
    actix_web::rt::System::new().block_on(async {
        let pool = PgPoolOptions::new()
            .max_connections(16)
            .connect(database)
            .await?;
        let gateway = gateway.clone();
        let http = reqwest::Client::new();
        let state = web::Data::new(State {
            pool,
            key,
            gateway,
            http,
        });
        let app = move || {
            App::new()
                .app_data(state.clone())
                .route("/webhooks/{shop}", web::post().to(webhook))
                .route("/payments", web::post().to(submit))
        };
        HttpServer::new(app).bind(listen)?.run().await?;
        Ok(())
    })
}
