//! The danger: evidence that whoever runs the service can rewrite is worth no more than his word.

use crate::world::{Database, Setup, World, eventually};
use audit::{AuditScope, run};
use reconciler::store::Store;
use serde_json::json;
use sqlx::postgres::PgPool;

/// A database of its own, and the address under which a login role reaches it that is a member of
/// the group given.
async fn as_member(group: &str, login: &str) -> (Database, String) {
    let database = Database::fresh().await;
    let name = format!("{login}_{}", uuid::Uuid::new_v4().simple());
    let create = format!("CREATE ROLE {name} LOGIN IN ROLE {group}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(create))
        .execute(&database.pool)
        .await
        .unwrap();
    let url = database.url.replacen("postgres@", &format!("{name}@"), 1);
    assert_ne!(url, database.url);
    (database, url)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

async fn refused(pool: &PgPool, sql: &str) {
    let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(pool)
        .await;
    let error = done.err().unwrap_or_else(|| panic!("allowed: {sql}"));
    let code = error
        .as_database_error()
        .and_then(|e| e.code().map(|c| c.into_owned()));
    assert!(
        matches!(code.as_deref(), Some("42501" | "0LP01" | "25006")),
        "{sql} was refused otherwise: {error}"
    );
}

#[test]
fn the_whole_service_runs_in_a_role_that_may_only_add_evidence() {
    let (_kept, url) = block_on(as_member("reconciler_service", "service"));
    Setup::default()
        .impatient()
        .database(&url)
        .run(async |world| {
            let names = [
                "ok-s",
                "lost-s",
                "crashnone-s",
                "hang-s",
                "mismatch-s",
                "stuck-s",
                "correct-s",
            ];
            for name in names {
                world.pay_async(name).await.expect(202);
            }
            for name in ["ok-s", "lost-s", "crashnone-s", "hang-s", "correct-s"] {
                world.until_final(name).await;
            }
            let found = world.until_found("amount_mismatch").await;
            let path = format!("discrepancies/{}/resolve", found["id"].as_str().unwrap());
            world
                .post(&path, json!({"reason": "agreed"}))
                .await
                .expect(200);
            world.until_state("mismatch-s", "successful").await;
            world.until_state("stuck-s", "pending").await;
            world
                .resolve("stuck-s", "failed", "the bank says so")
                .await
                .expect(200);
            let made = json!({"uid": "orphan-1", "tracking_id": "not-ours", "amount": 1,
            "currency": "EUR", "test": true});
            world.twin().make(made).await;
            let webhook = json!({"url": world.hook_url(), "uid": "orphan-1"});
            assert_eq!(world.twin().send_webhook(webhook).await, [200]);
            world.post("pause", json!({})).await.expect(200);
            world.post("resume", json!({})).await.expect(200);
            assert!(!world.events().await.is_empty());
            sweeps(world).await;
            eventually("what was learned of the time to final", async || {
                let rows = "SELECT count(*) FROM pacing WHERE told + missed > 0";
                (world.database.one::<i64>(rows).await > 0).then_some(())
            })
            .await;
            cannot_rewrite(&world.database.pool).await;
        });
}

/// What the slow sweeps do, in the same role.
async fn sweeps(world: &World) {
    use domain::ShopId;
    use reconciler::store::maintenance;
    use std::time::Duration;
    let store = Store::connect_lazy(&world.database.url, 1).unwrap();
    let shop = ShopId::parse("1001").unwrap();
    maintenance::ensure_partitions(&store, 4).await.unwrap();
    maintenance::drop_old_events(&store, &shop, Duration::from_secs(86_400))
        .await
        .unwrap();
    // Even when it asks for everything: what is young stays.
    assert_eq!(
        maintenance::drop_old_evidence(&store, Duration::ZERO)
            .await
            .unwrap(),
        0
    );
    store.close().await;
}

async fn cannot_rewrite(pool: &PgPool) {
    let month: String = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'evidence'::regclass ORDER BY 1 LIMIT 1",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    for sql in [
        "UPDATE evidence SET note = ''",
        "DELETE FROM evidence",
        "TRUNCATE evidence",
        "DROP TABLE evidence",
        "ALTER TABLE evidence ADD COLUMN x int",
        "UPDATE transactions SET amount = 1",
        "DELETE FROM transactions",
        "UPDATE uids SET transaction_id = gen_random_uuid()",
        "DELETE FROM uids",
        "UPDATE events SET payload = ''",
        "DELETE FROM discrepancies",
        "UPDATE discrepancies SET detail = ''",
        "UPDATE orphans SET body = ''",
        "DELETE FROM orphans",
        "CREATE OR REPLACE FUNCTION evidence_min_keep() RETURNS interval LANGUAGE sql AS 'SELECT now() - now()'",
        "SELECT grant_reconciler_roles()",
        "CREATE TRIGGER t BEFORE INSERT ON evidence EXECUTE FUNCTION x()",
    ] {
        refused(pool, sql).await;
    }
    for sql in [
        "UPDATE {} SET note = ''",
        "DELETE FROM {}",
        "TRUNCATE {}",
        "DROP TABLE {}",
    ] {
        refused(pool, &sql.replace("{}", &month)).await;
    }
}

#[test]
fn an_auditor_reads_everything_and_writes_nothing() {
    let (database, url) = block_on(as_member("reconciler_auditor", "auditor"));
    let owner = database.url.clone();
    Setup::default().database(&owner).run(async |world| {
        world.pay_and_wait("ok-r").await.expect(200);
        let store = Store::connect_lazy(&url, 1).unwrap();
        let report = run(store.unbounded_pool(), &AuditScope::default())
            .await
            .unwrap();
        assert!(
            report.is_clean() && report.transactions["1001"] == 1,
            "{}",
            report.table()
        );
        for sql in [
            "INSERT INTO uids VALUES ('1001', 'x', gen_random_uuid())",
            "UPDATE transactions SET state = 'failed'",
            "DELETE FROM evidence",
            "SELECT forget_evidence('0')",
            "SELECT ensure_evidence_partitions(24)",
        ] {
            refused(store.unbounded_pool(), sql).await;
        }
        store.close().await;
        // A migration that adds a table has to grant it as well. Months are reached through their
        // parent alone.
        let forgotten = "SELECT relname::text FROM pg_class, unnest(ARRAY['reconciler_service',
                'reconciler_auditor']) AS role
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
              AND (relname ~ '^evidence_[0-9]') = has_table_privilege(role, oid, 'SELECT')";
        assert_eq!(world.database.all::<String>(forgotten).await, [""; 0]);
    });
}

#[test]
fn security_definer_functions_have_a_fixed_search_path() {
    let (_kept, url) = block_on(as_member("reconciler_service", "intruder"));
    Setup::default().service_down().database(&url).run(async |world| {
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
        // A table of his own in the place of ours, with a month that looks old.
        let planted = "CREATE TEMP TABLE evidence (transaction_id uuid) PARTITION BY RANGE (transaction_id);
            CREATE TEMP TABLE evidence_2020_01 PARTITION OF pg_temp.evidence DEFAULT;
            CREATE FUNCTION pg_temp.evidence_min_keep() RETURNS interval LANGUAGE sql AS
                'SELECT now() - now()';
            SET search_path = pg_temp, public";
        sqlx::raw_sql(planted).execute(&pool).await.unwrap();
        // Neither the planted table nor the planted function counts.
        let dropped: i32 =
            sqlx::query_scalar("SELECT forget_evidence('0')").fetch_one(&pool).await.unwrap();
        assert_eq!(dropped, 0);
        sqlx::query("SELECT ensure_evidence_partitions(6)").execute(&pool).await.unwrap();
        pool.close().await;
        let made = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'public.evidence'::regclass";
        assert!(world.database.one::<i64>(made).await >= 8);
        let fixed = "SELECT count(*) FROM pg_proc WHERE prosecdef AND pronamespace =
            'public'::regnamespace AND (proconfig IS NULL OR NOT proconfig::text LIKE '%pg_temp%')";
        assert_eq!(world.database.one::<i64>(fixed).await, 0);
    });
}

#[test]
fn roles_can_be_created_after_the_migration() {
    use reconciler::store::migrate::migrate;
    use testkit::postgres::{ClusterOptions, PostgresCluster};
    block_on(async {
        let cluster = PostgresCluster::start(ClusterOptions::default())
            .await
            .unwrap();
        let admin = PgPool::connect(&cluster.url("postgres")).await.unwrap();
        let run = async |pool: &PgPool, sql: &'static str| {
            sqlx::raw_sql(sql).execute(pool).await.unwrap();
        };
        run(&admin, "CREATE ROLE owner LOGIN").await;
        run(&admin, "CREATE DATABASE managed OWNER owner").await;
        let owner = cluster.url("managed").replacen("postgres@", "owner@", 1);
        let admin_there = PgPool::connect(&cluster.url("managed")).await.unwrap();
        run(&admin_there, "ALTER SCHEMA public OWNER TO owner").await;
        let store = Store::connect_lazy(&owner, 1).unwrap();
        migrate(&store).await.unwrap();
        let roles = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'reconciler%'";
        let made: i64 = sqlx::query_scalar(roles).fetch_one(&admin).await.unwrap();
        assert_eq!(made, 0);

        run(
            &admin,
            "CREATE ROLE reconciler_service; CREATE ROLE svc LOGIN IN ROLE reconciler_service",
        )
        .await;
        run(store.unbounded_pool(), "SELECT grant_reconciler_roles()").await;
        let url = cluster.url("managed").replacen("postgres@", "svc@", 1);
        let service = Store::connect_lazy(&url, 1).unwrap();
        assert!(
            !reconciler::store::roles::may_rewrite_evidence(&service)
                .await
                .unwrap()
        );
        assert!(
            reconciler::store::roles::may_rewrite_evidence(&store)
                .await
                .unwrap()
        );
        cannot_rewrite(service.unbounded_pool()).await;
        reconciler::store::migrate::check(&service).await.unwrap();
        for pool in [
            service.unbounded_pool(),
            store.unbounded_pool(),
            &admin,
            &admin_there,
        ] {
            pool.close().await;
        }
    });
}
