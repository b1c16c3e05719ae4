//! Lists of facts: plausible lives of a transaction, and lists that no honest gateway would cause.
//!
//! Values are drawn from very few, so that ties and conflicts are frequent.

use super::given::{
    TOLERANCE, absent, absent_of, accepted, at, card_payment, currency, no_duplicate, not_sent,
    payment, refund, refusal, replayed, result, seen, silent, stamped, task_id, test_payment,
    tracking, uid,
};
use crate::evidence::{Decision, FoundBy, Namer, RefusalCheck};
use crate::{
    Fact, RefusalKind, Snapshot, SnapshotKey, State, StatusClass, Timestamp, TransactionRequest,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

/// How much is tried. A failure prints its smallest case; nothing is written beside the sources.
pub(super) fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        cases: count,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

pub(super) fn openings() -> impl Strategy<Value = TransactionRequest> {
    select(vec![payment(), card_payment(), test_payment(), refund()])
}

/// `usual` mostly, one of the others now and then.
fn mostly<T: Clone + std::fmt::Debug + 'static>(
    usual: T,
    others: Vec<T>,
) -> impl Strategy<Value = T> {
    prop_oneof![4 => Just(usual), 1 => select(others)]
}

/// Snapshots of three uids; some agree, some differ in one value or several.
pub(super) fn snapshots(opening: TransactionRequest) -> impl Strategy<Value = Snapshot> {
    let what = (
        select(vec!["u-1", "u-2", "u-3"]),
        select(vec![
            "successful",
            "failed",
            "expired",
            "incomplete",
            "pending",
            "error",
            "odd",
        ]),
        option::weighted(0.2, select(vec!["P.9999", "E.1035", "E.1018", "F.0114"])),
        select(vec![None, Some(at(10)), Some(at(20)), Some(at(30))]),
        select(vec![0_u8, 1, 2]),
        option::weighted(0.1, Just("currency \"??\"".to_owned())),
    );
    let kind = Some(opening.kind.as_str().to_owned());
    let parent = opening.parent_uid.clone();
    let names = vec![None, Some(tracking("order-1")), Some(tracking("other"))];
    let which = (
        mostly(
            kind,
            vec![None, Some("payment".to_owned()), Some("capture".to_owned())],
        ),
        mostly(opening.amount, vec![None, Some(900)]),
        mostly(opening.currency, vec![None, Some(currency("EUR"))]),
        mostly(opening.tracking_id.clone(), names),
        mostly(parent, vec![None, Some(uid("p-2"))]),
        mostly(None, vec![Some(false), Some(true)]),
        mostly(
            Some(at(1)),
            vec![
                None,
                Some(at(2)),
                Some(at(-TOLERANCE - 1)),
                Some(at(-TOLERANCE)),
            ],
        ),
    );
    (what, which).prop_map(|((name, status, code, updated_at, sha, unread), which)| {
        let (kind, amount, currency, tracking_id, parent_uid, test, created_at) = which;
        Snapshot {
            uid: uid(name),
            status: status.to_owned(),
            class: StatusClass::of(status, code),
            kind,
            code: code.map(str::to_owned),
            message: None,
            friendly_message: None,
            amount,
            amount_written: None,
            currency,
            tracking_id,
            parent_uid,
            description: None,
            created_at,
            updated_at,
            paid_at: None,
            manually_corrected_at: None,
            redirect_url: None,
            card: None,
            test,
            unread,
            body_sha256: [sha; 32],
        }
    })
}

fn attempts() -> impl Strategy<Value = u32> {
    mostly(1, vec![2, 3])
}

fn tasks() -> impl Strategy<Value = crate::TaskId> {
    select(vec![task_id("t-1"), task_id("t-2")])
}

pub(super) fn moments() -> impl Strategy<Value = Timestamp> {
    select(vec![at(0), at(5), at(15), at(25), at(90_000)])
}

fn refusal_kinds() -> impl Strategy<Value = RefusalKind> {
    select(vec![
        RefusalKind::Doubt,
        RefusalKind::Duplicate,
        RefusalKind::Rejected,
    ])
}

/// What we did, and what the gateway said of tasks: no snapshots, no proofs, no persons.
pub(super) fn dealings() -> impl Strategy<Value = Fact> {
    let reason = select(vec!["a".to_owned(), "b".to_owned()]);
    prop_oneof![
        (2_u32..4, select(vec![10, 20])).prop_map(|(attempt, s)| stamped(attempt, s)),
        (2_u32..4, select(vec![10, 20])).prop_map(|(attempt, s)| replayed(attempt, s)),
        (attempts(), reason.clone())
            .prop_map(|(attempt, reason)| Fact::NotSent { attempt, reason }),
        (attempts(), reason.clone())
            .prop_map(|(attempt, reason)| Fact::GivenUp { attempt, reason }),
        (attempts(), moments()).prop_map(|(attempt, until)| Fact::Deferred { attempt, until }),
        (attempts(), reason).prop_map(|(attempt, reason)| Fact::WentSilent { attempt, reason }),
        (attempts(), tasks(), moments()).prop_map(|(attempt, task, at)| Fact::Acknowledged {
            attempt,
            task,
            at
        }),
        (attempts(), refusal_kinds()).prop_map(|(attempt, kind)| Fact::Refused {
            attempt,
            refusal: refusal(kind),
            at: at(2)
        }),
        tasks().prop_map(|task| Fact::TaskAlive { task }),
        tasks().prop_map(|task| Fact::TaskUnknown { task }),
        tasks().prop_map(|task| Fact::TaskOutlived { task }),
        (tasks(), refusal_kinds(), moments()).prop_map(|(task, kind, at)| Fact::TaskRefused {
            task,
            refusal: refusal(kind),
            at
        }),
        (tasks(), select(RefusalCheck::ALL.to_vec()))
            .prop_map(|(task, check)| Fact::RefusalChecked { task, check }),
        select(vec![uid("u-1"), uid("u-2")]).prop_map(|uid| Fact::UidMissing { uid }),
        select(vec![Fact::LookupEmpty, Fact::Nothing]),
    ]
}

/// What the gateway showed of its transactions, and what a person accepted of that.
pub(super) fn sightings(opening: TransactionRequest) -> impl Strategy<Value = Fact> {
    (snapshots(opening), tasks(), 0..12_u8).prop_map(|(snapshot, task, way)| match way {
        0..=5 => seen(&snapshot),
        6..=7 => Fact::TaskResult {
            task,
            snapshot: Box::new(snapshot),
        },
        8 => Fact::Seen {
            snapshot: Box::new(snapshot),
            found_by: FoundBy::OwnTask,
        },
        9 => Fact::Answered {
            attempt: 1,
            snapshot: Box::new(snapshot),
        },
        10 => Fact::Contested {
            snapshot: Box::new(snapshot),
        },
        _ => accepted(&snapshot),
    })
}

/// What the ledger tells of whose a uid is: one that another of ours owns is never told as ours, and one of
/// origin `gateway` may turn out to be this one.
fn ownerships(opening: TransactionRequest) -> impl Strategy<Value = Fact> {
    (snapshots(opening), tasks(), 0..5_u8).prop_map(|(snapshot, task, way)| {
        let anothers = |by| Fact::Anothers {
            by,
            snapshot: Box::new(Snapshot {
                uid: uid("u-4"),
                ..snapshot.clone()
            }),
        };
        match way {
            0 => anothers(None),
            1 => anothers(Some(Namer::Attempt(1))),
            2 => anothers(Some(Namer::Task(task))),
            3 => Fact::MergedInto {
                into: Uuid::from_u128(5),
            },
            _ => Fact::Merged {
                from: Uuid::from_u128(4),
                snapshot: Box::new(snapshot),
            },
        }
    })
}

fn bases() -> impl Strategy<Value = Option<SnapshotKey>> {
    option::of((
        any::<bool>(),
        select(vec![None, Some(at(10)), Some(at(20))]),
        0_u8..4,
    ))
    .prop_map(|basis| {
        basis.map(|(is_final, updated_at, rank)| SnapshotKey {
            is_final,
            updated_at,
            rank: if is_final { rank.max(1) } else { 0 },
            sha256: [1; 32],
        })
    })
}

pub(super) fn decisions() -> impl Strategy<Value = Decision> {
    let states = select(State::ALL.to_vec());
    (moments(), 0_u128..3, states, bases()).prop_map(|(at, id, state, basis)| Decision {
        at,
        id: Uuid::from_u128(id),
        state,
        basis,
        by: "ops".to_owned(),
        reason: "the bank said so".to_owned(),
        uid: None,
    })
}

fn proofs() -> impl Strategy<Value = Fact> {
    (select(vec![-5, 12, 22, 90_000]), 0..4_u8).prop_map(|(s, which)| match which {
        0 => no_duplicate(s),
        1 => absent(s),
        2 => absent_of(&[1], s),
        _ => absent_of(&[1, 2], s),
    })
}

/// Any fact at all.
pub(super) fn any_fact(opening: TransactionRequest) -> impl Strategy<Value = Fact> {
    prop_oneof![
        5 => dealings(),
        5 => sightings(opening.clone()),
        1 => ownerships(opening),
        1 => proofs(),
        1 => decisions().prop_map(Fact::Decided),
    ]
}

/// Plausible beginnings: the fate of attempt 1, and sometimes a second one.
fn lives(opening: TransactionRequest) -> impl Strategy<Value = Vec<Fact>> {
    let ours = snapshots(opening);
    let ack = Fact::Acknowledged {
        attempt: 1,
        task: task_id("t-1"),
        at: at(1),
    };
    (0..8_u8, ours).prop_map(move |(life, snapshot)| match life {
        0 => vec![ack.clone()],
        1 => vec![ack.clone(), result("t-1", &snapshot)],
        2 => vec![
            ack.clone(),
            Fact::TaskUnknown {
                task: task_id("t-1"),
            },
        ],
        3 => vec![silent(1)],
        4 => vec![silent(1), replayed(2, 20), silent(2)],
        5 => vec![not_sent(1)],
        6 => vec![
            Fact::Deferred {
                attempt: 1,
                until: at(5),
            },
            stamped(2, 10),
        ],
        _ => vec![Fact::Refused {
            attempt: 1,
            refusal: refusal(RefusalKind::Duplicate),
            at: at(2),
        }],
    })
}

/// A life: attempt 1 is stamped, something plausible comes of it, and anything at all happens.
pub(super) fn histories() -> impl Strategy<Value = (TransactionRequest, Vec<Fact>)> {
    openings().prop_flat_map(|opening| {
        let facts = (lives(opening.clone()), vec(any_fact(opening.clone()), 0..9));
        facts.prop_map(move |(life, more)| {
            let facts = [vec![stamped(1, 0)], life, more].concat();
            (opening.clone(), facts)
        })
    })
}

/// A life, and some facts more.
pub(super) fn histories_and_more()
-> impl Strategy<Value = (TransactionRequest, Vec<Fact>, Vec<Fact>)> {
    histories().prop_flat_map(|(opening, facts)| {
        let more = vec(any_fact(opening.clone()), 1..6);
        more.prop_map(move |more| (opening.clone(), facts.clone(), more))
    })
}
