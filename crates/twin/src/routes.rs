//! Routes of the gateway. Each handler reads the whole request, lets the state determine the
//! response, and delivers it as planned.

use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE};
use actix_web::web::{self, Data, Path, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde_json::json;

use super::lookups::QueryTarget;
use super::request_log::{RequestHead, RequestKind};
use super::response::{PlannedResponse, ResponseDelivery, SimResponse};
use super::server::Twin;
use super::submit::PostContinuation;
use super::transactions::{StatusTransition, TransactionKind};

/// Maximum size of a request body. Documented requests are much smaller.
const BODY_LIMIT: usize = 1 << 20;

/// Registers the routes of the gateway.
pub fn configure(config: &mut ServiceConfig) {
    for (prefix, asynchronous) in [("", false), ("/async", true)] {
        for kind in TransactionKind::ALL {
            let path = format!("{prefix}/transactions/{}", kind.collection());
            let handler =
                move |twin, request, payload| submit(twin, request, payload, kind, asynchronous);
            config.route(&path, web::post().to(handler));
        }
        let handler = move |twin, request, payload| balance(twin, request, payload, asynchronous);
        config.route(&format!("{prefix}/balance"), web::post().to(handler));
        let handler = move |twin, request, uid| by_uid(twin, request, uid, asynchronous);
        config.route(
            &format!("{prefix}/transactions/{{uid}}"),
            web::get().to(handler),
        );
        let handler = move |twin, request, id| by_tracking_id(twin, request, id, asynchronous);
        let path = format!("{prefix}/v2/transactions/tracking_id/{{id:.*}}");
        config.route(&path, web::get().to(handler));
    }
    for (path, operation) in [
        ("/async/status/{id}", RequestKind::TaskStatus),
        ("/async/result/{id}", RequestKind::TaskResult),
    ] {
        let handler = move |twin, request, id| task(twin, request, id, operation);
        config.route(path, web::get().to(handler));
    }
    config.route("/process/{uid}", web::get().to(process));
}

fn call(request: &HttpRequest, operation: RequestKind, asynchronous: bool) -> RequestHead {
    let header = |name: &str| {
        let value = request.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let method = if request.method() == actix_web::http::Method::POST {
        "POST"
    } else {
        "GET"
    };
    RequestHead {
        method,
        path: request.path().to_owned(),
        operation,
        asynchronous,
        authorization: header(AUTHORIZATION.as_str()),
        idempotency_key: header("RequestID"),
        v3: header("X-API-Version").as_deref() == Some("3"),
        json: header(CONTENT_TYPE.as_str())
            .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/json")),
    }
}

/// Reads a whole body. Returns `None` if it ended early or is too long.
async fn body(mut payload: Payload) -> Option<Bytes> {
    let mut body = BytesMut::new();
    while let Some(part) = payload.next().await {
        let part = part.ok()?;
        if body.len() + part.len() > BODY_LIMIT {
            return None;
        }
        body.extend_from_slice(&part);
    }
    Some(body.freeze())
}

async fn finish(twin: &Twin, mut reply: PlannedResponse) -> HttpResponse {
    reply
        .answer
        .headers
        .push(("X-Request-Id".to_owned(), twin.next_answer_id()));
    reply.send(twin.clock.scale()).await
}

async fn broken_off(twin: &Twin) -> HttpResponse {
    twin.with(|world| world.journal.broken_body());
    let answer = SimResponse::json(400, &json!({"message": "Bad request"}));
    PlannedResponse {
        delivery: ResponseDelivery::Reset,
        ..PlannedResponse::from(answer)
    }
    .send(1.0)
    .await
}

async fn submit(
    twin: Data<Twin>,
    request: HttpRequest,
    payload: Payload,
    kind: TransactionKind,
    asynchronous: bool,
) -> HttpResponse {
    let Some(body) = body(payload).await else {
        return broken_off(&twin).await;
    };
    let call = call(&request, RequestKind::Submit(kind), asynchronous);
    match twin.with(|world| world.submit(call, kind, &body)) {
        PostContinuation::Reply(reply) => finish(&twin, reply).await,
        PostContinuation::Wait(wait, done) => {
            // A dropped sender means that the task has already ended.
            let _ = done.await;
            let reply = twin.with(|world| world.end_of_wait(&wait));
            finish(&twin, reply).await
        }
    }
}

async fn balance(
    twin: Data<Twin>,
    request: HttpRequest,
    payload: Payload,
    asynchronous: bool,
) -> HttpResponse {
    let Some(body) = body(payload).await else {
        return broken_off(&twin).await;
    };
    let call = call(&request, RequestKind::Balance, asynchronous);
    let reply = twin.with(|world| world.balance(call, &body));
    finish(&twin, reply).await
}

async fn by_uid(
    twin: Data<Twin>,
    request: HttpRequest,
    uid: Path<String>,
    asynchronous: bool,
) -> HttpResponse {
    let call = call(&request, RequestKind::QueryUid, asynchronous);
    let reply = twin.with(|world| world.look_up(call, QueryTarget::Uid(uid.into_inner())));
    finish(&twin, reply).await
}

async fn by_tracking_id(
    twin: Data<Twin>,
    request: HttpRequest,
    id: Path<String>,
    asynchronous: bool,
) -> HttpResponse {
    let call = call(&request, RequestKind::QueryTrackingId, asynchronous);
    let reply = twin.with(|world| world.look_up(call, QueryTarget::TrackingId(id.into_inner())));
    finish(&twin, reply).await
}

async fn task(
    twin: Data<Twin>,
    request: HttpRequest,
    id: Path<String>,
    operation: RequestKind,
) -> HttpResponse {
    let call = call(&request, operation, true);
    let reply = twin.with(|world| world.read_task(call, &id));
    finish(&twin, reply).await
}

/// The customer's decision on the 3-D Secure page.
#[derive(serde::Deserialize)]
struct PayerDecision {
    outcome: Option<String>,
}

/// Serves the 3-D Secure page. With `?outcome=successful` or `?outcome=failed` the transaction gets
/// a final status at once; without it, the page offers both.
async fn process(
    twin: Data<Twin>,
    uid: Path<String>,
    decision: web::Query<PayerDecision>,
) -> HttpResponse {
    let outcome = match decision.outcome.as_deref() {
        Some("successful") => "successful",
        Some("failed") => "failed",
        _ => {
            let page = "<h1>3-D Secure</h1><a href=\"?outcome=successful\">approve</a> \
                        <a href=\"?outcome=failed\">decline</a>";
            return HttpResponse::Ok()
                .content_type("text/html; charset=utf-8")
                .body(page);
        }
    };
    let back = twin.with(|world| {
        let stamp = world.stamp;
        let transaction = world.transactions.get_mut(uid.as_str())?;
        let back = transaction.details.return_url.clone();
        if !transaction.is_final() {
            transaction.turn(
                StatusTransition {
                    status: outcome,
                    ..StatusTransition::default()
                },
                stamp,
            );
            world.enqueue_webhooks(world.now, &uid);
        }
        Some(back)
    });
    match back {
        None => HttpResponse::NotFound().body("no such transaction"),
        Some(None) => HttpResponse::Ok().body(outcome),
        Some(Some(url)) => HttpResponse::Found()
            .insert_header(("Location", url))
            .finish(),
    }
}
