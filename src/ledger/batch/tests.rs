//! Who may act: leases that are right, somebody else's, and run out.

use super::*;
use crate::ledger::EvidenceTarget;
use crate::observation::Observation;
use domain::evidence::Decision;
use domain::schedule::Pace;
use domain::{Currency, Origin, State, TaskId, TrackingId, TransactionRequest};
use gateway::{WebhookReading, read_webhook};

mod reading;

const LEASE: Duration = Duration::from_secs(45);

fn settings() -> LedgerSettings {
    LedgerSettings {
        pace: Pace {
            first_check: Duration::from_secs(1),
            max_interval: Duration::from_secs(60),
            max_interval_old: Duration::from_secs(3600),
            recheck_after_final: Vec::new(),
        },
        lease: LEASE,
        clock_tolerance: Duration::from_secs(120),
        max_batch: 8,
    }
}

fn shop() -> ShopId {
    match ShopId::parse("1001") {
        Ok(shop) => shop,
        Err(_) => panic!("a shop id"),
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_793_491_200_000_000).plus(Duration::from_secs(seconds))
}

fn batch<'a>(shop: &'a ShopId, settings: &'a LedgerSettings) -> Batch<'a> {
    Batch {
        shop,
        settings,
        at: at(0),
        jitter_seed: 0,
        started: BootInstant::now(),
        rows: BatchRows::default(),
        routing: OwnerIndex::default(),
        named_at_once: HashSet::new(),
        known: HashSet::new(),
        evidence: Vec::new(),
        events: Vec::new(),
        last_seq: None,
        opened: Vec::new(),
        healed: Vec::new(),
        closings: Vec::new(),
        waiting: Vec::new(),
        orphans: Vec::new(),
        of_orphans: Vec::new(),
        by_name: HashMap::new(),
        families: Families::default(),
        counted: Vec::new(),
        ended: Vec::new(),
        forecasts: Default::default(),
        seen: Vec::new(),
    }
}

fn open(batch: &mut Batch<'_>, send_now: bool) -> Uuid {
    let id = Uuid::from_u128(7);
    let opening = TransactionRequest {
        shop: shop(),
        tracking_id: TrackingId::parse("order-1").ok(),
        kind: TransactionType::Payment,
        origin: Origin::Api,
        amount: Some(500),
        currency: Currency::parse("EUR"),
        parent_uid: None,
        parent_tracking_id: None,
        card_data: false,
        test: None,
        opened_at: at(0),
    };
    let open = OpenTransaction {
        id,
        opening,
        description: None,
        fingerprint: Vec::new(),
        fingerprint_key: String::new(),
        request: b"{}".to_vec(),
        request_sha256: [0; 32],
        sealed: None,
        send_now,
        not_before: None,
        parent_limit: None,
    };
    assert!(matches!(
        batch.open(&open, id),
        PendingResult::Created { .. }
    ));
    id
}

/// Gives the check to a worker until a moment.
fn lease(batch: &mut Batch<'_>, id: Uuid, token: Uuid, until: Timestamp) {
    let decision = CheckDecision::Put {
        due_at: until,
        lease: Some(token),
        again: false,
    };
    batch.schedule(id, decision);
    if let Some(row) = batch.rows.map.get_mut(&id) {
        row.write = None;
    }
}

fn stamp(id: Uuid, lease: Option<Uuid>) -> StampAttempt {
    StampAttempt {
        sealed: None,
        id,
        lease,
        replay: false,
        child: None,
        told_before: Vec::new(),
    }
}

const OURS: Uuid = Uuid::from_u128(1);
const ANOTHERS: Uuid = Uuid::from_u128(2);
const NEXT: Uuid = Uuid::from_u128(3);

#[test]
fn a_retried_batch_reads_the_lease_from_the_row() {
    let (shop, settings) = (shop(), settings());
    let mut batch = batch(&shop, &settings);
    let id = open(&mut batch, true);
    // The first run was twenty seconds ago.
    batch.at = at(20);
    let Some(left) = batch.remaining_lease(id, id) else {
        panic!("it is ours")
    };
    assert_eq!(left.token, id);
    assert_eq!(
        left.until.duration_since(batch.started),
        LEASE - Duration::from_secs(20)
    );
}

#[test]
fn nothing_can_be_sent_under_a_lease_that_ran_out() {
    let (shop, settings) = (shop(), settings());
    let mut batch = batch(&shop, &settings);
    let id = open(&mut batch, true);
    for late in [45, 46, 4_000] {
        batch.at = at(late);
        let left = batch
            .remaining_lease(id, id)
            .map(|held| held.until.duration_since(batch.started));
        assert_eq!(left, Some(Duration::ZERO), "{late}");
        assert_eq!(batch.live_lease(id), None, "{late}");
    }
}

#[test]
fn another_workers_lease_is_not_held() {
    let (shop, settings) = (shop(), settings());
    let mut batch = batch(&shop, &settings);
    let id = open(&mut batch, true);
    lease(&mut batch, id, ANOTHERS, at(60));
    assert!(batch.remaining_lease(id, id).is_none());
    assert_eq!(batch.live_lease(id), Some(ANOTHERS));
    assert!(
        batch.remaining_lease(Uuid::from_u128(99), id).is_none(),
        "no such row"
    );
}

#[test]
fn a_lease_under_which_nothing_was_stamped_is_not_held() {
    let (shop, settings) = (shop(), settings());
    let mut batch = batch(&shop, &settings);
    let id = open(&mut batch, false);
    lease(&mut batch, id, OURS, at(45));
    assert!(batch.remaining_lease(id, OURS).is_none());
}

#[test]
fn only_a_live_lease_of_ones_own_stamps() {
    let (shop, settings) = (shop(), settings());
    for (named, until, may) in [
        (Some(OURS), 45, true),
        (Some(ANOTHERS), 45, false),
        (None, 45, false),
        // Nobody has taken it over yet, and yet it is over.
        (Some(OURS), 0, false),
    ] {
        let mut batch = batch(&shop, &settings);
        let id = open(&mut batch, false);
        lease(&mut batch, id, OURS, at(until));
        let draft = batch.stamp(&stamp(id, named), NEXT);
        let ready = matches!(draft, PendingResult::Ready { attempt: 1, .. });
        assert_eq!(ready, may, "{named:?} {until}");
    }
}

#[test]
fn nothing_is_stamped_over_which_a_decision_would_still_hold() {
    let (shop, settings) = (shop(), settings());
    for (now, may) in [(9, false), (10, false), (11, true)] {
        let mut batch = batch(&shop, &settings);
        let id = open(&mut batch, false);
        let decision = Decision {
            at: at(10),
            id: Uuid::from_u128(5),
            state: State::NotSent,
            basis: None,
            by: "ops".to_owned(),
            reason: "the books".to_owned(),
            uid: None,
        };
        let facts = vec![Fact::Decided(decision)];
        let act = Observation::local(Channel::Operator, "decided", &serde_json::json!({}), facts);
        let facts = act.facts.iter().map(Cow::Borrowed).collect();
        batch.join_facts(id, &act, facts, Verdict::Applied);
        batch.at = at(now);
        let draft = batch.stamp(&stamp(id, None), NEXT);
        assert_eq!(
            matches!(draft, PendingResult::Ready { attempt: 1, .. }),
            may,
            "{now}"
        );
        let state = batch.rows.map[&id].derived.state;
        assert_eq!(state == State::Submitting, may, "{state}");
    }
}

#[test]
fn only_a_live_lease_of_ones_own_plans() {
    let (shop, settings) = (shop(), settings());
    for (named, until, may) in [
        (Some(OURS), 45, true),
        (Some(ANOTHERS), 45, false),
        (Some(OURS), 0, false),
    ] {
        let mut batch = batch(&shop, &settings);
        let id = open(&mut batch, true);
        lease(&mut batch, id, OURS, at(until));
        let read = failed_read();
        let wish = at(50);
        let record = RecordEvidence {
            target: EvidenceTarget::Transaction(id),
            observation: read,
            lease: named,
            next_check: Some(wish),
        };
        batch.apply_to_transaction(&record, id, Vec::new());
        let row = &batch.rows.map[&id];
        let due = row.check.as_ref().map(|check| check.due_at);
        assert_eq!(due == Some(wish), may, "{named:?} {until}");
        assert_eq!(row.write.is_some(), may, "{named:?} {until}");
        // What it read counts all the same.
        assert_eq!(row.stored.evidence_count, 3);
    }
}

fn failed_read() -> Observation {
    let (channel, body) = (Channel::TaskResult, Vec::new());
    Observation::from_gateway(channel, Some(502), None, body, [1; 32], vec![])
}

/// Records what a worker has read under its lease, and gives the pause until the next look, in seconds, and
/// how many looks told nothing.
fn look(batch: &mut Batch<'_>, id: Uuid, learned: Observation, wish: Option<u64>) -> (f64, u16) {
    lease(batch, id, OURS, batch.at.plus(LEASE));
    let mut learned = learned;
    learned.pause = wish.map(Duration::from_secs);
    let facts = learned.facts.clone();
    let record = RecordEvidence {
        target: EvidenceTarget::Transaction(id),
        observation: learned,
        lease: Some(OURS),
        next_check: None,
    };
    batch.apply_to_transaction(&record, id, facts.iter().map(Cow::Borrowed).collect());
    let row = &batch.rows.map[&id];
    let due = row.check.as_ref().map(|check| check.due_at);
    let pause = due.map_or(f64::INFINITY, |due| due.since(batch.at).as_secs_f64());
    (pause, row.course.misses)
}

#[test]
fn uninformative_checks_become_rare() {
    let (shop, settings) = (shop(), settings());
    for wish in [None, Some(0), Some(86_400)] {
        let mut batch = batch(&shop, &settings);
        let id = open(&mut batch, true);
        for k in 1..=10_u32 {
            let (pause, misses) = look(&mut batch, id, failed_read(), wish);
            let floor = f64::from(2_u32.pow(k).min(60));
            assert_eq!(misses, u16::try_from(k).unwrap_or(0));
            assert!(pause >= floor, "{k}: {pause} for {wish:?}");
            // A tenth more spreads what began together.
            assert!(pause <= 66.0, "{k}: {pause} for {wish:?}");
        }
    }
}

#[test]
fn an_informative_response_resets_the_count() {
    let (shop, settings) = (shop(), settings());
    let mut batch = batch(&shop, &settings);
    let id = open(&mut batch, true);
    let Some(task) = TaskId::from_gateway("t") else {
        panic!("a task's id")
    };
    let runs = || {
        let mut learned = failed_read();
        learned.http_status = Some(425);
        learned.facts = vec![Fact::TaskAlive { task: task.clone() }];
        learned
    };
    assert_eq!(look(&mut batch, id, failed_read(), None).1, 1);
    assert_eq!(look(&mut batch, id, runs(), None).1, 0);
    // After a minute that it runs says no more than that it is kept.
    batch.at = at(61);
    assert_eq!(look(&mut batch, id, runs(), None).1, 1);
    assert_eq!(look(&mut batch, id, runs(), None).1, 2);
}

#[test]
fn an_unanswered_check_counts_and_is_still_wanted() {
    let (shop, settings) = (shop(), settings());
    let mut batch = batch(&shop, &settings);
    let id = open(&mut batch, true);
    let asked = crate::ledger::request_check("ops", at(0));
    let record = RecordEvidence {
        target: EvidenceTarget::Transaction(id),
        observation: asked,
        lease: None,
        next_check: None,
    };
    batch.apply_to_transaction(&record, id, Vec::new());
    let mut silent = failed_read();
    silent.http_status = None;
    for count in 1..4 {
        look(&mut batch, id, silent.clone(), None);
        let course = &batch.rows.map[&id].course;
        assert_eq!((course.unanswered, course.misses), (count, count));
        assert!(course.wishes.by_name);
    }
    let mut empty = failed_read();
    (empty.channel, empty.http_status) = (Channel::Query, Some(200));
    empty.facts = vec![Fact::LookupEmpty];
    look(&mut batch, id, empty, None);
    let course = &batch.rows.map[&id].course;
    assert_eq!((course.unanswered, course.misses), (0, 0));
    assert!(!course.wishes.by_name);
}

#[test]
fn an_arrival_has_the_time_at_which_it_came_here() {
    let (shop, settings) = (shop(), settings());
    let told = |ahead: u64| {
        let mut batch = batch(&shop, &settings);
        let id = open(&mut batch, true);
        let snapshot = described(&serde_json::json!({"updated_at": at(ahead).to_rfc3339()}));
        let uid = snapshot.uid.clone();
        let Some(task) = TaskId::from_gateway("t") else {
            panic!("a task's id")
        };
        let facts = vec![
            Fact::Acknowledged {
                attempt: 1,
                task: task.clone(),
                at: Timestamp::END,
            },
            Fact::TaskResult {
                task: task.clone(),
                snapshot,
            },
        ];
        let record = RecordEvidence {
            target: EvidenceTarget::Transaction(id),
            observation: Observation::from_gateway(
                Channel::TaskResult,
                Some(200),
                None,
                Vec::new(),
                [2; 32],
                facts,
            ),
            lease: None,
            next_check: None,
        };
        let facts = record.observation.facts.iter().map(Cow::Borrowed).collect();
        assert_eq!(
            batch.apply_to_transaction(&record, id, facts),
            Verdict::Applied
        );
        let summary = &batch.rows.map[&id].stored.summary;
        let latest = summary.candidates[&uid].latest.clone();
        (
            summary.tasks[&task].acked_at,
            latest.and_then(|s| s.updated_at),
        )
    };
    // What lies ten minutes ahead may be a clock; more is not believed.
    assert_eq!(told(600), (Some(at(0)), Some(at(600))));
    assert_eq!(told(601), (Some(at(0)), None));
}

/// A success of ours, except for these fields.
fn described(other: &serde_json::Value) -> Box<Snapshot> {
    let mut body = serde_json::json!({"uid": "u", "status": "successful", "type": "payment",
        "tracking_id": "order-1", "amount": 500, "currency": "EUR"});
    for (key, value) in other.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    match read_webhook(body.to_string().as_bytes(), [2; 32], Timestamp::END) {
        WebhookReading::Transaction { snapshot, .. } => snapshot,
        other => panic!("{other:?}"),
    }
}
