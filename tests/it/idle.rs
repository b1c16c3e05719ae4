//! The danger: work that follows the number of shops that are configured, and not what is due.

use crate::world::{Setup, World};
use std::time::Duration;

const SHOPS: usize = 100;

/// Commits of the database so far, those of the processes that live included as far as they have told.
async fn commits(world: &World) -> i64 {
    let count = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
    world.database.one(count).await
}

#[test]
fn idle_shops_cost_no_statements() {
    let shops = (0..SHOPS).map(|n| format!("{}", 7_000 + n));
    let setup = shops.fold(Setup::default(), |setup, id| {
        let secret = format!("secret-of-{id}");
        setup.with_shop(&id, &secret)
    });
    setup.run(async |world| {
        world.until_ready().await;
        // One that is followed beside them, so that it is seen that the engine runs.
        world.pay_async("ok-beside").await.expect(202);
        world.until_final("ok-beside").await;
        tokio::time::sleep(Duration::from_secs(7)).await;
        let before = commits(world).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let each_second = (commits(world).await - before) as f64 / 10.0;
        assert!(each_second < 12.0, "{each_second} commits a second");
    });
}
