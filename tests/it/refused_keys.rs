//! The danger: a shop's key is wrong, and payment after payment ends as rejected.

use crate::world::{SHOP, Setup, eventually_within, payment};
use serde_json::{Value, json};
use std::time::Duration;

/// How the gateway answers whose key it does not know.
fn unauthorized(status: u16, code: &str) -> Value {
    let body = json!({"response": {"status": "error", "code": code, "message": "Unauthorized",
        "errors": {}}});
    json!({"operation": "submit", "share": 1.0, "effect": false,
        "act": {"answer": {"status": status, "body": body.to_string()}}})
}

#[test]
fn three_refused_keys_over_all_replicas_pause_submits() {
    Setup::default().run(async |world| {
        let (service, other) = world.replica().await;
        world.twin().fault(unauthorized(401, "E.1021")).await;
        for (name, merchant) in [("ok-1", &**world), ("ok-2", &other), ("ok-3", &**world)] {
            let told = merchant.pay(name).await.expect(200);
            assert_eq!(told.json["state"], "rejected");
        }
        for merchant in [&**world, &other] {
            let refused = merchant.pay("ok-held").await;
            assert!(refused.header("retry-after").is_some(), "{}", refused.text);
            refused.expect_problem(503, "unavailable");
            // Nothing was opened.
            merchant
                .get("transactions/ok-held")
                .await
                .expect_problem(404, "not-found");
        }
        let refused = world.pay_async("ok-held-too").await;
        refused.expect_problem(503, "unavailable");
        // What is known is answered as ever.
        world.pay("ok-1").await.expect(200);
        let counted = world.metrics().await.sum(
            "reconciler_gateway_requests_total",
            &[
                ("shop", SHOP),
                ("operation", "submit"),
                ("outcome", "unauthorized"),
            ],
        );
        assert!((counted - 2.0).abs() < 0.1, "{counted}");
        // One tries it, and its answer lets all others through.
        world.twin().no_faults().await;
        let limit = Duration::from_secs(25);
        let probed = eventually_within(limit, async || {
            [200, 202]
                .contains(&world.pay("ok-held").await.status)
                .then_some(())
        })
        .await;
        assert!(probed.is_some(), "a probe goes out");
        for name in ["ok-5", "ok-6"] {
            other.pay(name).await.expect(202);
        }
        assert_eq!(world.until_final("ok-held").await["state"], "successful");
        service.stop().await;
    });
}

#[test]
fn other_responses_reset_the_count_of_refused_keys() {
    Setup::default().run(async |world| {
        world.twin().fault(unauthorized(403, "E.1022")).await;
        for n in 0..4 {
            world.pay(&format!("ok-forbidden-{n}")).await.expect(200);
        }
        world.twin().no_faults().await;
        world.twin().fault(unauthorized(401, "E.1021")).await;
        for n in 0..2 {
            world.pay(&format!("ok-twice-{n}")).await.expect(200);
        }
        world.twin().no_faults().await;
        world.pay("ok-between").await.expect(202);
        world.twin().fault(unauthorized(401, "E.1021")).await;
        for n in 2..4 {
            world.pay(&format!("ok-twice-{n}")).await.expect(200);
        }
        world.twin().no_faults().await;
        let body = payment("ok-after");
        world.post("payments", body).await.expect(202);
    });
}
