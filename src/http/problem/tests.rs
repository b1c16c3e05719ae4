//! What a problem document tells, and what it must not.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
use super::*;
use actix_web::body::to_bytes;

async fn told(problem: &Problem) -> (HttpResponse<()>, Value) {
    let (head, body) = problem.response(Some("r-1")).into_parts();
    let bytes = to_bytes(body).await.unwrap_or_default();
    (head, serde_json::from_slice(&bytes).unwrap())
}

#[actix_web::test]
async fn a_problem_document_has_the_members_of_the_contract() {
    let problem = Problem::invalid("/amount", "must be a whole number");
    let (head, body) = told(&problem).await;
    assert_eq!(head.status(), 422);
    assert_eq!(
        head.headers().get("content-type").unwrap(),
        "application/problem+json"
    );
    assert_eq!(body["type"], "urn:reconciler:problem:validation");
    assert_eq!(body["status"], 422);
    assert_eq!(body["request_id"], "r-1");
    assert_eq!(
        body["errors"],
        json!([{"pointer": "/amount", "message": "must be a whole number"}])
    );
}

#[actix_web::test]
async fn no_detail_keeps_a_card_number() {
    let problem = Problem::new(ProblemKind::Malformed, "card 4200000000000000 is not json");
    let (_, body) = told(&problem).await;
    assert!(!body.to_string().contains("4200000000000000"));
    let problem = Problem::invalid("/4200000000000000", "unknown");
    let (_, body) = told(&problem).await;
    assert!(!body.to_string().contains("4200000000000000"), "{body}");
}

#[actix_web::test]
async fn retry_after_is_in_whole_seconds() {
    for (after, header) in [(0, "1"), (999, "1"), (1_000, "1"), (1_001, "2")] {
        let problem = Problem::new(ProblemKind::TooManyRequests, "slow")
            .retry_after(Duration::from_millis(after));
        let (head, _) = told(&problem).await;
        assert_eq!(head.headers().get("retry-after").unwrap(), header);
    }
}

#[actix_web::test]
async fn the_cause_is_for_the_log_alone() {
    let problem = Problem::internal("relation does not exist");
    let (head, body) = told(&problem).await;
    assert_eq!(head.status(), 500);
    assert!(!body.to_string().contains("relation"));
    assert_eq!(problem.cause(), Some("relation does not exist"));
}

#[actix_web::test]
async fn an_unavailable_store_has_retry_after() {
    for error in [
        LedgerError::Overloaded,
        LedgerError::Unavailable,
        LedgerError::CommitUnknown,
    ] {
        let (head, body) = told(&Problem::from(error)).await;
        assert_eq!(head.status(), 503);
        assert!(head.headers().contains_key("retry-after"));
        assert_eq!(body["type"], "urn:reconciler:problem:unavailable");
    }
}
