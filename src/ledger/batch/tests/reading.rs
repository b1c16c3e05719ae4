//! What a look of ours has read, and when the next one is due.

use super::*;

/// What this channel tells with these facts. `nth`: no two are the same piece.
fn told_by(channel: Channel, nth: u64, facts: Vec<Fact>) -> Observation {
    let mut sha256 = [3; 32];
    sha256[..8].copy_from_slice(&nth.to_be_bytes());
    let subject = (channel == Channel::Query).then(|| "order-1".to_owned());
    Observation::from_gateway(channel, Some(200), subject, Vec::new(), sha256, facts)
}

fn acked(task: &TaskId) -> Fact {
    Fact::Acknowledged {
        attempt: 1,
        task: task.clone(),
        at: at(0),
    }
}

fn task() -> TaskId {
    let Some(task) = TaskId::from_gateway("t") else {
        panic!("a task's id")
    };
    task
}

/// What stands under our name when it is looked at, each time with another `updated_at`.
fn seen_at(other: &serde_json::Value, seconds: u64) -> Fact {
    let mut other = other.clone();
    other["updated_at"] = at(seconds).to_rfc3339().into();
    other["created_at"] = at(0).to_rfc3339().into();
    Fact::Seen {
        snapshot: described(&other),
        found_by: domain::evidence::FoundBy::TrackingId,
    }
}

/// Whether a webhook makes a look due at once that is due later.
fn is_hurried(batch: &mut Batch<'_>, id: Uuid, nth: u64, odd: &serde_json::Value) -> bool {
    let facts = vec![seen_at(odd, 5_000)];
    let record = RecordEvidence {
        target: EvidenceTarget::Transaction(id),
        observation: told_by(Channel::Webhook, nth, facts.clone()),
        lease: None,
        next_check: None,
    };
    let due_at = batch.at.plus(Duration::from_secs(50));
    let later = CheckDecision::Put {
        due_at,
        lease: None,
        again: false,
    };
    batch.schedule(id, later);
    batch.apply_to_transaction(&record, id, facts.iter().map(Cow::Borrowed).collect());
    let check = batch.rows.map[&id].check.as_ref();
    check.map(|check| check.due_at) == Some(batch.at)
}

#[test]
fn a_difference_that_is_dated_anew_at_each_read_is_read_at_the_pace() {
    let (shop, settings) = (shop(), settings());
    let silent = Fact::WentSilent {
        attempt: 1,
        reason: "no answer".to_owned(),
    };
    let result = Fact::TaskResult {
        task: task(),
        snapshot: described(&serde_json::json!({"amount": 400})),
    };
    for (before, odd, least) in [
        (
            vec![acked(&task()), result],
            serde_json::json!({"amount": 400}),
            60.0,
        ),
        (
            vec![silent.clone()],
            serde_json::json!({"amount": 400}),
            1.0,
        ),
        (vec![silent], serde_json::json!({"test": true}), 1.0),
    ] {
        let mut batch = batch(&shop, &settings);
        let id = open(&mut batch, true);
        look(
            &mut batch,
            id,
            told_by(Channel::TaskResult, 0, before),
            None,
        );
        let (mut looks, mut nth) = (0, 0);
        while batch.at < at(900) {
            nth += 1;
            let seen = seen_at(&odd, batch.at.since(at(0)).as_secs() + nth);
            let (pause, _) = look(
                &mut batch,
                id,
                told_by(Channel::Query, nth, vec![seen]),
                None,
            );
            assert!(pause >= least, "{odd}: {pause}");
            batch.at = batch.at.plus(Duration::from_secs_f64(pause));
            looks += 1;
        }
        assert!(looks < 40, "{odd}: {looks} looks in 15 minutes");
        // A webhook makes a look due at once, for each time of change once.
        batch.at = at(5_000);
        assert_eq!(
            [1, 2].map(|nth| is_hurried(&mut batch, id, nth, &odd)),
            [true, false],
            "{odd}"
        );
    }
}

#[test]
fn a_contradiction_that_goes_on_is_read_at_the_pace() {
    let (shop, settings) = (shop(), settings());
    let mut batch = batch(&shop, &settings);
    let id = open(&mut batch, true);
    let result = Fact::TaskResult {
        task: task(),
        snapshot: described(&serde_json::json!({"updated_at": at(1).to_rfc3339()})),
    };
    look(
        &mut batch,
        id,
        told_by(Channel::TaskResult, 0, vec![acked(&task()), result]),
        None,
    );
    let mut pauses = Vec::new();
    for nth in 1..10 {
        batch.at = batch.at.plus(Duration::from_secs(2));
        let open = seen_at(&serde_json::json!({"status": "pending"}), 10 * nth);
        let mut learned = told_by(Channel::Query, nth, vec![open]);
        learned.subject = Some("u".to_owned());
        pauses.push(look(&mut batch, id, learned, None).0);
    }
    assert!(pauses[0] <= 0.0, "{pauses:?}");
    assert!(pauses[1..].iter().all(|pause| *pause >= 60.0), "{pauses:?}");
}

#[test]
fn a_refusal_that_becomes_doubt_keeps_what_was_counted() {
    let (shop, settings) = (shop(), settings());
    let mut batch = batch(&shop, &settings);
    let id = open(&mut batch, true);
    let refused = Fact::TaskRefused {
        task: task(),
        refusal: domain::Refusal {
            kind: domain::RefusalKind::Rejected,
            code: Some("E.1025".to_owned()),
            message: None,
            friendly_message: None,
            http_status: Some(422),
        },
        at: at(1),
    };
    look(
        &mut batch,
        id,
        told_by(Channel::TaskResult, 0, vec![acked(&task()), refused]),
        None,
    );
    let mut silent = failed_read();
    (silent.channel, silent.http_status) = (Channel::Query, None);
    for _ in 0..6 {
        look(&mut batch, id, silent.clone(), None);
    }
    batch.at = at(1_000);
    let overdue = Fact::RefusalChecked {
        task: task(),
        check: domain::evidence::RefusalCheck::Overdue,
    };
    let act = serde_json::json!({"check": "overdue"});
    let act = Observation::local(Channel::Local, "refusal_checked", &act, vec![overdue]);
    let (pause, misses) = look(&mut batch, id, act, None);
    assert_eq!(batch.rows.map[&id].derived.state, State::InDoubt);
    assert!(pause >= 60.0 && misses == 7, "{pause} {misses}");
}
