//! A worker that was paused comes back after its lease has run out and another has taken over.
//!
//! It may send nothing and schedule nothing; what it had read still counts. The worker is the real
//! binary, stopped (SIGSTOP) at one exact place: while PostgreSQL's answer, or the gateway's, is held
//! back on its way to it.

use crate::world::{
    Addresses, COMMIT, FakeGateway, KEY, Merchant, Process, Proxy, Reply, Setup, World, ack,
    eventually, payment, private_cluster, transaction, wrapped,
};
use rustix::process::Signal;
use serde_json::json;
use std::sync::Arc;
use testkit::postgres::Cluster;
use tokio::sync::Notify;

/// The look for due work, by the name of its statement.
const LEASE: &str = "-- lease_due";

/// The first statement of a batch, in which evidence is recorded.
const BATCH: &str = "-- begin_batch";

/// The lease of these tests is this long, and the silence of a dead worker is noticed after it.
fn setup() -> Setup {
    Setup::default().impatient().service_down()
}

/// One more service, which goes to PostgreSQL straight.
async fn straight_replica(world: &World) -> (Process, Merchant) {
    let addresses = Addresses::reserve();
    let process = Process::start(&world.straight_config_text(&addresses), &addresses);
    let merchant = Merchant::new(&addresses, KEY);
    merchant.until_ready().await;
    (process, merchant)
}

fn with_proxy(setup: Setup, test: impl AsyncFnOnce(&World, &Proxy)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (proxy, url, _cluster): (Proxy, String, Cluster) = runtime.block_on(async {
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
fn paused_between_the_stamp_and_the_send_it_sends_nothing() {
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
            // Its lease runs out: another takes over, and looks for what may have been sent.
            other.until_state("ok-stamped", "not_found").await;
            assert_eq!(world.twin().posts("ok-stamped").await, 0);
            proxy.release(COMMIT);
            first.signal(Signal::CONT);
            // What it knows is kept. Its absence was told, and stays: nothing is stamped after a proof.
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
fn paused_with_a_lease_on_what_waits_it_stamps_and_sends_nothing() {
    with_proxy(setup(), async |world, proxy| {
        let first = world.process().await;
        // One look for work is held, with nothing in it. The next one finds the payment, takes a
        // lease on it, and is held as well.
        proxy.hold(LEASE);
        proxy.until_held(LEASE).await;
        world.pay_async("ok-leased").await.expect(202);
        proxy.release(LEASE);
        proxy.hold(LEASE);
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
        // It works again, and has sent and stamped nothing.
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

/// A gateway whose first answer about the task is held, and comes only once.
fn holding(held: &Arc<Notify>, only: Reply, later: Reply) -> FakeGateway {
    let held = Arc::clone(held);
    let reads = Arc::new(std::sync::atomic::AtomicU32::new(0));
    FakeGateway::start(move |request| {
        let (held, reads) = (Arc::clone(&held), Arc::clone(&reads));
        let (only, later) = (only.clone(), later.clone());
        async move {
            if request.is_submit() {
                return Reply::Json(200, ack("http://127.0.0.1:1", "task-1"));
            }
            if request.path.contains("/tracking_id/") {
                return Reply::Json(200, json!({"transactions": []}));
            }
            if reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0 {
                return later;
            }
            held.notified().await;
            only
        }
    })
}

/// Has the first worker read the task, and stops it before it can record what it read; lets another
/// take over until `taken_over`, and wakes the first one up.
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
fn paused_after_the_read_what_it_read_still_counts() {
    let held = Arc::new(Notify::new());
    // The only answer that ever tells of the refusal goes to the worker that is stopped.
    let refused = json!({"message": "no", "errors": {"amount": ["is too small"]}});
    let unknown = json!({"status": "unknown", "request_id": "task-1"});
    let fake = holding(&held, Reply::Json(422, refused), Reply::Json(404, unknown));
    // Nothing can be proved absent while this lasts.
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
fn paused_after_the_read_it_schedules_nothing() {
    let held = Arc::new(Notify::new());
    // The stopped worker is told to come back in an hour; the other one sees the end.
    let later = b"HTTP/1.1 425 X\r\nContent-Type: application/json\r\nRetry-After: 3600\r\n\
        Content-Length: 48\r\n\r\n{\"status\": \"processing\", \"request_id\": \"task-1\"}"
        .to_vec();
    let pending = transaction("uid-read", "ok-read", "pending");
    let fake = holding(
        &held,
        Reply::Raw(later),
        Reply::Json(200, wrapped(&pending)),
    );
    with_proxy(setup().gateway(&fake), async |world, proxy| {
        let (first, second, other) =
            paused_after_reading((world, proxy), &fake, &held, async |other: &Merchant| {
                other.until_state("ok-read", "pending").await;
            })
            .await;
        // What it read is kept, as one thing more that was said.
        eventually("it is recorded", async || {
            let results = other.evidence_by("ok-read", "task_result").await;
            results
                .iter()
                .any(|e| e["http_status"] == 425)
                .then_some(())
        })
        .await;
        // And the next look is where the other one put it: soon, and not in an hour.
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
