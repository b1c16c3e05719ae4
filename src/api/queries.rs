//! `POST /v1/shops/{shop}/queries/…`: the two request kinds that create no transaction.
//!
//! What it deliberately cannot do: change a transaction. What a status query tells is recorded as
//! evidence by the dispatcher, through the one door.

use crate::api::auth::AuthorizedCaller;
use crate::api::context::ApiContext;
use crate::api::respond;
use crate::config::Scope;
use crate::http::body;
use crate::http::problem::{FieldError, Problem, ProblemKind};
use crate::submit::{BUDGET_TIMEOUT, GatewayQuery, QueryError, QueryReply};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use gateway::redact::redact_value;
use gateway::{self, FieldViolation};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The answer of a query.
#[derive(Serialize, ToSchema)]
pub(crate) struct QueryResult {
    /// The gateway's task; null when its synchronous path answered.
    request_id: Option<String>,
    /// `completed`, or `not_found` when the gateway has no such thing.
    status: &'static str,
    /// The gateway's answer, without card data.
    result: Value,
}

/// Ask the gateway for a status
///
/// By its `uid` or by your `tracking_id`, now and through the asynchronous mode. It creates no
/// transaction; what it tells is evidence about the transaction that it is about.
#[utoipa::path(
    post,
    path = "/v1/shops/{shop}/queries/status",
    tag = "Queries",
    operation_id = "queryStatus",
    responses((status = 200, description = "The gateway's answer.", body = QueryResult))
)]
pub(crate) async fn status(
    context: web::Data<ApiContext>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let caller = context.authorize_plain(&req, Scope::Submit)?;
    let (json, _) = body::json(&req, payload, context.config.current().api.max_body).await?;
    let query = status_query(json.fields()?)?;
    ask(&context, &caller, query).await
}

/// Ask the gateway for a balance
///
/// By `account`, `currency` or `gateway_id`; which of them the acquirer wants is for the gateway to
/// say.
#[utoipa::path(
    post,
    path = "/v1/shops/{shop}/queries/balance",
    tag = "Queries",
    operation_id = "queryBalance",
    responses((status = 200, description = "The gateway's answer.", body = QueryResult))
)]
pub(crate) async fn balance(
    context: web::Data<ApiContext>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let caller = context.authorize_plain(&req, Scope::Submit)?;
    let (json, _) = body::json(&req, payload, context.config.current().api.max_body).await?;
    let query = balance_query(json.fields()?)?;
    ask(&context, &caller, query).await
}

fn status_query(fields: &Map<String, Value>) -> Result<GatewayQuery, Problem> {
    only(fields, &["uid", "tracking_id"])?;
    read(gateway::status_query(fields))
}

fn balance_query(fields: &Map<String, Value>) -> Result<GatewayQuery, Problem> {
    only(fields, &["account", "currency", "gateway_id"])?;
    read(gateway::balance_query(fields))
}

fn read(parsed: Result<gateway::QueryKind, Vec<FieldViolation>>) -> Result<GatewayQuery, Problem> {
    match parsed {
        Ok(gateway::QueryKind::ByUid(uid)) => Ok(GatewayQuery::StatusByUid(uid)),
        Ok(gateway::QueryKind::ByTrackingId(name)) => Ok(GatewayQuery::StatusByTrackingId(name)),
        Ok(gateway::QueryKind::Balance(fields)) => Ok(GatewayQuery::Balance(fields)),
        Err(problems) => Err(Problem::validation(
            problems.into_iter().map(FieldError::from).collect(),
        )),
    }
}

/// A query says nothing but what it asks for.
fn only(fields: &Map<String, Value>, known: &[&str]) -> Result<(), Problem> {
    let unknown: Vec<FieldError> = fields
        .keys()
        .filter(|name| !known.contains(&name.as_str()))
        .map(|name| {
            let name = name.replace('~', "~0").replace('/', "~1");
            FieldError::new(format!("/{name}"), "is not a field of this query")
        })
        .collect();
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(Problem::validation(unknown))
    }
}

async fn ask(
    context: &ApiContext,
    caller: &AuthorizedCaller,
    query: GatewayQuery,
) -> Result<HttpResponse, Problem> {
    if context.http.is_draining() {
        return Err(Problem::unavailable("this replica is about to stop"));
    }
    let shop = &caller.shop.id;
    context
        .dispatch
        .acquire_budget(shop, BUDGET_TIMEOUT)
        .await
        .map_err(|none| {
            Problem::no_budget(
                none,
                "the shop's limit of requests to the gateway is reached",
            )
        })?;
    let answer = context.dispatch.query(shop, query).await.map_err(failed)?;
    let QueryReply {
        request_id,
        status,
        result,
    } = answer;
    // It is redacted when it is read; once more costs little, and nothing else stands here.
    let answer = QueryResult {
        request_id,
        status,
        result: redact_value(&result),
    };
    Ok(respond::json(StatusCode::OK, &answer))
}

fn failed(error: QueryError) -> Problem {
    match error {
        QueryError::Timeout => Problem::new(
            ProblemKind::GatewayTimeout,
            "the gateway's answer did not come in time",
        ),
        QueryError::NotRecorded => {
            Problem::unavailable("the gateway's answer could not be recorded; ask again")
        }
        QueryError::Unreachable => Problem::new(
            ProblemKind::GatewayUnreachable,
            "the gateway could not be reached",
        ),
        QueryError::Refused { status, result } => {
            let detail = format!("the gateway answered the query with HTTP {status}");
            let problem = Problem::new(ProblemKind::GatewayUnreachable, detail);
            problem.member("result", redact_value(&result))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_status_query_takes_one_identifier() {
        let by = |value| status_query(&fields(value));
        assert!(matches!(
            by(json!({"uid": "a-1"})),
            Ok(GatewayQuery::StatusByUid(_))
        ));
        assert!(matches!(
            by(json!({"tracking_id": "a b"})),
            Ok(GatewayQuery::StatusByTrackingId(_))
        ));
        // What looks like a card number may be anybody's name.
        assert!(by(json!({"tracking_id": "4200000000000000"})).is_ok());
        for bad in [
            json!({}),
            json!({"uid": ""}),
            json!({"uid": 5}),
            json!({"uid": "a", "tracking_id": "b"}),
            json!({"tracking_id": ""}),
            json!({"uid": "a", "x": 1}),
        ] {
            assert!(by(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_balance_query_takes_account_currency_or_gateway() {
        let by = |value| balance_query(&fields(value));
        for good in [
            json!({"account": "a"}),
            json!({"account": "4200000000000000"}),
            json!({"currency": "EUR"}),
            json!({"gateway_id": 5}),
        ] {
            assert!(by(good.clone()).is_ok(), "{good}");
        }
        for bad in [
            json!({}),
            json!({"currency": null}),
            json!({"x": "y"}),
            json!({"account": ["a"]}),
        ] {
            assert!(by(bad.clone()).is_err(), "{bad}");
        }
    }
}
