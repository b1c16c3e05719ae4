//! The danger: what PostgreSQL says about itself is taken for a word about an item, or for an empty budget.

use crate::world::{SHOP, Setup, World};
use serde_json::{Value, json};

/// Every write of evidence that holds the word of a code fails with that code.
const CODES: [&str; 2] = [
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
     DECLARE code text := substring(convert_from(NEW.body, 'UTF8') FROM 'code-([0-9A-Z]{5})');
     BEGIN
        IF code IS NOT NULL THEN
            RAISE EXCEPTION 'refused' USING ERRCODE = code;
        END IF;
        RETURN NEW;
     END $$",
    "CREATE TRIGGER refuse BEFORE INSERT ON evidence FOR EACH ROW EXECUTE FUNCTION refuse()",
];

const NO_BUDGET: [&str; 2] = [
    "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$",
    "CREATE TRIGGER full_disk BEFORE UPDATE ON shop_controls
     FOR EACH ROW EXECUTE FUNCTION full_disk()",
];

async fn run_all(world: &World, statements: [&'static str; 2]) {
    for statement in statements {
        world.database.execute(statement).await;
    }
}

fn telling(name: &str, code: &str) -> Value {
    json!({"transaction": {"uid": "code-1", "status": "pending", "type": "payment", "amount": 3245,
        "currency": "EUR", "test": true, "tracking_id": name, "message": format!("code-{code}")}})
}

async fn tell(world: &World, name: &str, code: &str) -> Vec<u16> {
    let webhook = json!({"url": world.hook_url(), "shop": SHOP, "body": telling(name, code)});
    world.twin().send_webhook(webhook).await
}

const ASIDE: &str = "SELECT count(*) FROM orphans WHERE kind = 'quarantine'";

#[test]
fn an_error_of_the_budget_statement_is_not_an_empty_budget() {
    Setup::default().run(async |world| {
        run_all(world, NO_BUDGET).await;
        let refused = world.pay("ok-budget").await;
        assert!(refused.header("retry-after").is_some(), "{}", refused.text);
        refused.expect_problem(503, "unavailable");
        let asked = world.post("queries/balance", json!({"currency": "EUR"}));
        asked.await.expect_problem(503, "unavailable");
        assert_eq!(world.twin().posts("ok-budget").await, 0);
        world
            .database
            .execute("DROP TRIGGER full_disk ON shop_controls")
            .await;
        world.pay("ok-budget").await.expect(202);
    });
}

#[test]
fn server_errors_quarantine_nothing() {
    Setup::default().quiet().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        world.pay("never-server").await.expect(202);
        run_all(world, CODES).await;
        for code in [
            "08006", "25006", "28000", "40003", "53100", "55000", "57P03", "58030", "XX000",
            "23514",
        ] {
            assert_eq!(tell(world, "never-server", code).await, [503], "{code}");
            // It comes again, and others have passed in between.
            world
                .pay(&format!("never-between-{code}"))
                .await
                .expect(202);
            assert_eq!(tell(world, "never-server", code).await, [503], "{code}");
        }
        assert_eq!(world.database.one::<i64>(ASIDE).await, 0);
        // The item's own: kept, and told of.
        for (place, code) in ["22023", "23502", "54000"].into_iter().enumerate() {
            assert_eq!(tell(world, "never-server", code).await, [200], "{code}");
            let aside = i64::try_from(place).unwrap() + 1;
            assert_eq!(world.database.one::<i64>(ASIDE).await, aside, "{code}");
        }
    });
}

#[test]
fn a_repeated_error_of_one_command_is_its_own() {
    Setup::default().quiet().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        world.pay("never-other").await.expect(202);
        run_all(world, CODES).await;
        for _ in 0..2 {
            assert_eq!(tell(world, "never-other", "P0001").await, [503]);
            assert_eq!(world.database.one::<i64>(ASIDE).await, 0);
        }
        world.pay("never-another").await.expect(202);
        assert_eq!(tell(world, "never-other", "P0001").await, [200]);
        assert_eq!(world.database.one::<i64>(ASIDE).await, 1);
    });
}
