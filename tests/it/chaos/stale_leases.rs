//! A paused worker resumes after its lease has expired and another worker has taken over.
//!
//! It must not send or schedule anything; what it had read is still recorded. The worker is the
//! real binary, stopped with SIGSTOP at an exact place: while a response of PostgreSQL or of the
//! gateway to it is held.

use crate::world::{
    Addresses, COMMIT, FakeGateway, FakeReply, KEY, Merchant, Process, Proxy, Setup, World, ack,
    eventually, payment, private_cluster, transaction, wrapped,
};
use rustix::process::Signal;
use serde_json::json;
use std::sync::Arc;
use testkit::postgres::PostgresCluster;
use tokio::sync::Notify;

/// Name of the statement that leases due checks.
const LEASE: &str = "-- lease_due";

/// Name of the first statement of a batch, which records evidence.
const BATCH: &str = "-- begin_batch";

/// The lease of these tests; a dead worker is noticed after it.
fn setup() -> Setup {
    Setup::default().impatient().service_down()
}

/// Starts another service, which connects to PostgreSQL directly.
async fn straight_replica(world: &World) -> (Process, Merchant) {
    let addresses = Addresses::reserve();
    let process = Process::start(&world.straight_config_text(&addresses), &addresses);
    let merchant = Merchant::new(&addresses, KEY);
    merchant.until_ready().await;
    (process, merchant)
}

fn with_proxy(setup: Setup, test: impl AsyncFnOnce(&World, &Proxy)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (proxy, url, _cluster): (Proxy, String, PostgresCluster) = runtime.block_on(async {
        let (cluster, url) = private_cluster().await;
        (Proxy::before(cluster.socket_dir()).await, url, cluster)
    });
    setup
        .database(&url)
        .database_by_way_of(&proxy.url("own"))
        .run(async |world| test(world, &proxy).await);
}

async fn ends_well(mut process: Process) {
    process.signal(Signal::TERM);
    assert!(process.ended().await.success(), "{}", process.log());
}

#[test]
fn a_worker_paused_before_the_send_sends_nothing() {
    with_proxy(setup(), async |world, proxy| {
        let first = world.process().await;
        proxy.hold(COMMIT);
        let headers = [("content-type", "application/json")];
        let path = world.path("payments");
        let text = payment("ok-stamped").to_string();
        let asking = world.try_raw(reqwest::Method::POST, &path, &headers, text);
        let pausing = async {
            // The stamp is committed, and the worker does not know it yet.
            proxy.until_held(COMMIT).await;
            first.signal(Signal::STOP);
            let (second, other) = straight_replica(world).await;
            // Its lease expires: another worker takes over and looks up what may have been sent.
            other.until_state("ok-stamped", "not_found").await;
            assert_eq!(world.twin().posts("ok-stamped").await, 0);
            proxy.release(COMMIT);
            first.signal(Signal::CONT);
            // What the worker knows is recorded. The proved absence stands: nothing is stamped
            // after a proof.
            eventually("what it knows is kept", async || {
                let acts = other.evidence_by("ok-stamped", "local").await;
                let is_kept = acts.iter().any(|e| e["subject"] == "not_sent");
                is_kept.then_some(())
            })
            .await;
            let kept = other.until_final("ok-stamped").await;
            assert_eq!(kept["state"], "not_found", "{kept}");
            assert_eq!(world.twin().posts("ok-stamped").await, 0);
            ends_well(second).await;
        };
        let (_, ()) = tokio::join!(asking, pausing);
        ends_well(first).await;
    });
}

#[test]
fn a_worker_paused_with_a_lease_stamps_nothing() {
    with_proxy(setup(), async |world, proxy| {
        let first = world.process().await;
        // The poll that finds the payment acquires a lease on it, and its response is held.
        proxy.hold(LEASE);
        world.pay_async("ok-leased").await.expect(202);
        let leased = "SELECT count(*) FROM due_checks WHERE lease IS NOT NULL";
        eventually("the worker has the lease", async || {
            (world.database.one::<i64>(leased).await > 0).then_some(())
        })
        .await;
        first.signal(Signal::STOP);
        let (second, other) = straight_replica(world).await;
        let done = other.until_final("ok-leased").await;
        assert_eq!(done["state"], "successful");
        let before = other.evidence("ok-leased").await;
        proxy.release(LEASE);
        first.signal(Signal::CONT);
        world.until_ready().await;
        // The worker has resumed, and has neither sent nor stamped anything.
        world.pay_and_wait("ok-after").await.expect(200);
        assert_eq!(world.twin().posts("ok-leased").await, 1);
        let stamps = |evidence: &[serde_json::Value]| {
            let stamps = evidence.iter().filter(|e| e["subject"] == "stamped");
            stamps.count()
        };
        assert_eq!(stamps(&before), 1, "{before:?}");
        assert_eq!(stamps(&other.evidence("ok-leased").await), 1);
        ends_well(first).await;
        ends_well(second).await;
    });
}

/// Starts a gateway that holds its first response about the task, which it sends only once.
fn holding(held: &Arc<Notify>, only: FakeReply, later: FakeReply) -> FakeGateway {
    let held = Arc::clone(held);
    let reads = Arc::new(std::sync::atomic::AtomicU32::new(0));
    FakeGateway::start(move |request| {
        let (held, reads) = (Arc::clone(&held), Arc::clone(&reads));
        let (only, later) = (only.clone(), later.clone());
        async move {
            if request.is_submit() {
                return FakeReply::Json(200, ack("http://127.0.0.1:1", "task-1"));
            }
            if request.path.contains("/tracking_id/") {
                return FakeReply::Json(200, json!({"transactions": []}));
            }
            if reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0 {
                return later;
            }
            held.notified().await;
            only
        }
    })
}

/// Lets the first worker read the task and stops it before it records the result. Lets another
/// worker take over until `taken_over`, then resumes the first.
async fn paused_after_reading(
    (world, proxy): (&World, &Proxy),
    fake: &FakeGateway,
    held: &Notify,
    taken_over: impl AsyncFnOnce(&Merchant),
) -> (Process, Process, Merchant) {
    let first = world.process().await;
    world.pay("ok-read").await.expect(202);
    let reads = || {
        let seen = fake.seen();
        let of_task = seen.iter().filter(|r| r.path.contains("/async/result/"));
        of_task.count()
    };
    eventually("it reads", async || (reads() > 0).then_some(())).await;
    proxy.hold(BATCH);
    held.notify_one();
    proxy.until_held(BATCH).await;
    first.signal(Signal::STOP);
    let (second, other) = straight_replica(world).await;
    taken_over(&other).await;
    proxy.release(BATCH);
    first.signal(Signal::CONT);
    (first, second, other)
}

#[test]
fn a_worker_paused_after_a_read_still_records_it() {
    let held = Arc::new(Notify::new());
    // The only response with the refusal goes to the stopped worker.
    let refused = json!({"message": "no", "errors": {"amount": ["is too small"]}});
    let unknown = json!({"status": "unknown", "request_id": "task-1"});
    let fake = holding(
        &held,
        FakeReply::Json(422, refused),
        FakeReply::Json(404, unknown),
    );
    // Absence cannot be proved during this time.
    let setup = setup()
        .set("follow", "in_doubt_horizon", "\"1h\"")
        .gateway(&fake);
    with_proxy(setup, async |world, proxy| {
        let (first, second, other) =
            paused_after_reading((world, proxy), &fake, &held, async |other: &Merchant| {
                other.until_state("ok-read", "in_doubt").await;
            })
            .await;
        let done = other.until_final("ok-read").await;
        assert_eq!(done["state"], "rejected", "{done}");
        assert_eq!(fake.submits().len(), 1);
        ends_well(first).await;
        ends_well(second).await;
    });
}

#[test]
fn a_worker_paused_after_a_read_schedules_nothing() {
    let held = Arc::new(Notify::new());
    // The stopped worker is asked to retry in an hour; the other worker sees the final status.
    let later = b"HTTP/1.1 425 X\r\nContent-Type: application/json\r\nRetry-After: 3600\r\n\
        Content-Length: 48\r\n\r\n{\"status\": \"processing\", \"request_id\": \"task-1\"}"
        .to_vec();
    let pending = transaction("uid-read", "ok-read", "pending");
    let fake = holding(
        &held,
        FakeReply::Raw(later),
        FakeReply::Json(200, wrapped(&pending)),
    );
    with_proxy(setup().gateway(&fake), async |world, proxy| {
        let (first, second, other) =
            paused_after_reading((world, proxy), &fake, &held, async |other: &Merchant| {
                other.until_state("ok-read", "pending").await;
            })
            .await;
        // What the first worker read is recorded as additional evidence.
        eventually("it is recorded", async || {
            let results = other.evidence_by("ok-read", "task_result").await;
            results
                .iter()
                .any(|e| e["http_status"] == 425)
                .then_some(())
        })
        .await;
        // The next check is at the time that the other worker set: soon, not in an hour.
        let seen = fake.seen().len();
        eventually("it is looked at", async || {
            (fake.seen().len() > seen + 1).then_some(())
        })
        .await;
        let far =
            "SELECT count(*) FROM due_checks WHERE due_at > clock_timestamp() + interval '1m'";
        assert_eq!(world.database.one::<i64>(far).await, 0);
        ends_well(first).await;
        ends_well(second).await;
    });
}
