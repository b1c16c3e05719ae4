//! The names and labels that dashboards and alerts rely on.

use super::*;

fn money(shop: &str, currency: &str, value: i64) -> MoneyInDoubt {
    MoneyInDoubt {
        shop: shop.to_owned(),
        currency: currency.to_owned(),
        kind: "refund".to_owned(),
        value,
    }
}

fn level(shop: &str, label: &str, value: i64) -> ShopGauge {
    ShopGauge {
        shop: shop.to_owned(),
        label: label.to_owned(),
        value,
    }
}

#[test]
fn every_metric_of_the_contract_is_rendered_from_the_start() {
    let text = Metrics::new().render();
    for (name, kind) in [
        ("webhooks_total", "counter"),
        ("webhook_commit_seconds", "histogram"),
        ("evidence_total", "counter"),
        ("gateway_requests_total", "counter"),
        ("gateway_request_seconds", "histogram"),
        ("transactions_open", "gauge"),
        ("oldest_open_seconds", "gauge"),
        ("money_in_doubt_minor", "gauge"),
        ("time_to_final_seconds", "histogram"),
        ("checks_due", "gauge"),
        ("check_lag_seconds", "gauge"),
        ("discrepancies_open", "gauge"),
        ("outbox_pending", "gauge"),
        ("http_request_seconds", "histogram"),
        ("ledger_batch_size", "histogram"),
        ("build_info", "gauge"),
    ] {
        let line = format!("# TYPE reconciler_{name} {kind}\n");
        assert_eq!(text.matches(&line).count(), 1, "{line}");
        assert!(
            text.contains(&format!("# HELP reconciler_{name} ")),
            "{name} has no help"
        );
    }
    assert!(text.contains(&format!(r#"reconciler_build_info{{revision="{REVISION}","#)));
    #[cfg(target_os = "linux")]
    assert!(text.contains("process_resident_memory_bytes "));
}

#[test]
fn labels_are_those_of_the_contract() {
    let metrics = Metrics::new();
    let second = Duration::from_secs(1);
    metrics.webhook("1001", "applied");
    metrics.webhook_committed(second);
    metrics.evidence("webhook", "applied");
    metrics.gateway_request("1001", "submit", "acknowledged", second);
    metrics.finalized("payment", "webhook", second);
    metrics.http_request("/v1/shops/{shop}/payments", 202, second);
    metrics.set_breaker_open("1001", true);
    metrics.ledger_committed(3, second);
    metrics.set_checks(4, second);
    metrics.set_outbox_pending(5);
    metrics.delivery("orders", "delivered");
    metrics.set_subscribers_disabled(&[level("1001", "orders", 1)]);
    metrics.sweep_succeeded("events", second);
    metrics.dropped("events", 6);
    metrics.set_evidence_months_ahead(3);
    metrics.set_open(&[OpenTransactions {
        shop: "1001".to_owned(),
        state: "pending".to_owned(),
        count: 2,
        oldest: second,
    }]);
    metrics.set_money_in_doubt(&[money("1001", "EUR", 1_234)]);
    metrics.set_discrepancies_open(&[level("1001", "amount_mismatch", 1)]);
    let text = metrics.render();
    for line in [
        r#"reconciler_webhooks_total{outcome="applied",shop="1001"} 1"#,
        "reconciler_webhook_commit_seconds_count 1",
        r#"reconciler_evidence_total{channel="webhook",verdict="applied"} 1"#,
        r#"reconciler_gateway_requests_total{operation="submit",outcome="acknowledged",shop="1001"} 1"#,
        r#"reconciler_gateway_request_seconds_count{operation="submit"} 1"#,
        r#"reconciler_time_to_final_seconds_count{channel="webhook",type="payment"} 1"#,
        r#"reconciler_http_request_seconds_count{route="/v1/shops/{shop}/payments",status="202"} 1"#,
        r#"reconciler_breaker_open{shop="1001"} 1"#,
        "reconciler_ledger_batch_size_sum 3",
        "reconciler_ledger_commit_seconds_count 1",
        "reconciler_checks_due 4",
        "reconciler_check_lag_seconds 1",
        "reconciler_outbox_pending 5",
        r#"reconciler_sweep_last_success_timestamp_seconds{sweep="events"} 1"#,
        r#"reconciler_retention_dropped_total{what="events"} 6"#,
        "reconciler_evidence_months_ahead 3",
        r#"reconciler_deliveries_total{outcome="delivered",subscriber="orders"} 1"#,
        r#"reconciler_subscriber_disabled{shop="1001",subscriber="orders"} 1"#,
        r#"reconciler_transactions_open{shop="1001",state="pending"} 2"#,
        r#"reconciler_oldest_open_seconds{shop="1001",state="pending"} 1"#,
        r#"reconciler_money_in_doubt_minor{currency="EUR",shop="1001",type="refund"} 1234"#,
        r#"reconciler_discrepancies_open{kind="amount_mismatch",shop="1001"} 1"#,
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} not in\n{text}"
        );
    }
}

#[test]
fn a_drained_level_falls_to_zero_and_stays() {
    let metrics = Metrics::new();
    metrics.set_money_in_doubt(&[money("1001", "EUR", 5), money("1001", "USD", 7)]);
    metrics.set_money_in_doubt(&[money("1001", "USD", 8)]);
    metrics.set_money_in_doubt(&[]);
    let text = metrics.render();
    assert!(text.contains(
        "reconciler_money_in_doubt_minor{currency=\"EUR\",shop=\"1001\",type=\"refund\"} 0\n"
    ));
    assert!(text.contains(
        "reconciler_money_in_doubt_minor{currency=\"USD\",shop=\"1001\",type=\"refund\"} 0\n"
    ));
}

#[test]
fn submits_are_in_flight_while_their_guard_lives() {
    let metrics = Metrics::new();
    let first = metrics.submit_in_flight();
    let second = metrics.submit_in_flight();
    assert!(
        metrics
            .render()
            .contains("reconciler_submits_in_flight 2\n")
    );
    drop(first);
    drop(second);
    assert!(
        metrics
            .render()
            .contains("reconciler_submits_in_flight 0\n")
    );
}
