//! A body that PostgreSQL rejects arrives together with valid ones.

use crate::chaos::CaseParameters;
use crate::world::SHOP;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// A trigger that rejects evidence with this word, like a text with a zero byte. Known causes are
/// removed before they reach the database, so the test creates a new one.
const REFUSAL: [&str; 2] = [
    "CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN
        IF position('poison'::bytea IN NEW.body) > 0 THEN
            RAISE EXCEPTION 'poison' USING ERRCODE = 'character_not_in_repertoire';
        END IF;
        RETURN NEW;
     END $$",
    "CREATE TRIGGER refuse_poison BEFORE INSERT ON evidence
     FOR EACH ROW EXECUTE FUNCTION refuse_poison()",
];

#[test]
fn a_rejected_body_does_not_block_its_batch() {
    let name = "bodies that PostgreSQL rejects arrive by webhook and as task results";
    CaseParameters::new(name).run(async |case| {
        for statement in REFUSAL {
            case.world.database.execute(statement).await;
        }
        let twin = case.world.twin();
        let poison = |name: &str| {
            json!({"transaction": {"uid": "poison-1", "status": "failed", "type": "payment",
                "tracking_id": name, "amount": 3245, "currency": "EUR", "message": "poison"}})
        };
        let result = json!({"operation": "result", "share": 0.2, "effect": false,
            "act": {"answer": {"status": 200, "body": poison("").to_string()}}});
        twin.fault(result).await;
        let open = "SELECT tracking_id FROM transactions WHERE finalized_at IS NULL LIMIT 8";
        let until = Instant::now() + case.scale.outage;
        let url = case.world.hook_url();
        while Instant::now() < until {
            let names: Vec<String> = case.world.database.all(open).await;
            let told = names.iter().map(|name| {
                twin.send_webhook(json!({"url": url, "shop": SHOP, "body": poison(name)}))
            });
            for statuses in futures_util::future::join_all(told).await {
                assert_eq!(statuses, [200]);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        twin.no_faults().await;
        let aside = "SELECT count(*) FROM orphans WHERE kind = 'quarantine'";
        assert!(case.world.database.one::<i64>(aside).await > 0);
    });
}
