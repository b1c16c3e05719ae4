//! Why a transaction is where it is, in plain words for the person who asks.

use crate::candidate::{Candidate, Mismatch};
use crate::evidence::{AbsenceProof, RefusalCheck};
use crate::fold::{DerivedState, StateBasis, Summary};
use crate::schedule::Step;
use crate::{Fact, Refusal, RefusalKind, Snapshot, State, TransactionRequest, Uid};

/// One sentence that says what a piece of evidence told; kept beside it.
pub fn describe_fact(fact: &Fact) -> String {
    of_ourselves(fact)
        .or_else(|| of_the_gateway(fact))
        .or_else(|| of_transactions(fact))
        .unwrap_or_default()
}

/// What became of our attempts, and what was proved or decided.
fn of_ourselves(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::Stamped {
            attempt,
            replay: true,
            ..
        } => {
            format!("attempt {attempt} was about to be sent, as a repeat under the same RequestID")
        }
        Fact::Stamped { attempt, .. } => format!("attempt {attempt} was about to be sent"),
        Fact::NotSent { attempt, reason } => {
            format!("no byte of attempt {attempt} left this service: {reason}")
        }
        Fact::Forced => "a person insists on it".to_owned(),
        Fact::GivenUp { reason, .. } => format!("it is not sent any more: {reason}"),
        Fact::Deferred { attempt, until } => format!(
            "the gateway answered attempt {attempt} with 429, so it did not process it; the next \
             attempt is not made before {}",
            until.to_rfc3339()
        ),
        Fact::WentSilent { attempt, reason } => {
            format!("attempt {attempt} has no usable answer and may have arrived: {reason}")
        }
        Fact::Acknowledged { attempt, task, .. } => {
            format!("the gateway accepted attempt {attempt} as task {task}")
        }
        Fact::Refused {
            attempt, refusal, ..
        } => {
            format!(
                "the gateway answered attempt {attempt} with an error: {}",
                describe_refusal(refusal)
            )
        }
        Fact::AbsenceProved(proof) => proved(proof),
        Fact::Held { reason, .. } => format!("it is held back, and not sent: {reason}"),
        Fact::DecidedBefore(end) => format!(
            "it ended as {} under an earlier release; by the rules of now the same evidence makes it {}",
            end.state, end.ruled
        ),
        Fact::Released { .. } => "a person released what was held back".to_owned(),
        Fact::RefusalChecked { task, check } => looked_after(task.as_str(), *check),
        Fact::Decided(decision) => {
            let named = decision.uid.as_ref();
            let named = named.map_or_else(String::new, |uid| format!(", as transaction {uid}"));
            format!(
                "{} decided {:?}{named}: {}",
                decision.by,
                decision.state.as_str(),
                decision.reason
            )
        }
        Fact::MismatchAccepted(snapshot) => {
            format!(
                "a person accepted what the gateway has: {}",
                described(snapshot)
            )
        }
        _ => return None,
    })
}

/// What look-ups after a task's refusal came to.
fn looked_after(task: &str, check: RefusalCheck) -> String {
    match check {
        RefusalCheck::Overdue => format!(
            "no look-up has shown within 15 minutes that the gateway has nothing; until one does, the \
             refusal of task {task} proves nothing"
        ),
        RefusalCheck::LookupsFailed => format!(
            "the refusal of task {task} stands; no look-up confirmed it, since all of them failed"
        ),
        RefusalCheck::CannotBeShown => format!(
            "the refusal of task {task} stands; no look-up confirmed it, since look-ups cannot show \
             such a transaction at this shop"
        ),
        RefusalCheck::FoundNothing => {
            format!("a look-up found nothing, as the refusal of task {task} says")
        }
    }
}

/// What look-ups proved.
fn proved(proof: &AbsenceProof) -> String {
    let ids: Vec<String> = proof.lookups.iter().map(ToString::to_string).collect();
    let what = if proof.duplicate {
        "that it is no duplicate"
    } else {
        "its absence"
    };
    format!(
        "look-ups proved {what}; the evidence for it: {}",
        ids.join(", ")
    )
}

/// What the gateway said of its tasks, and of nothing else.
fn of_the_gateway(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::TaskAlive { task } => format!("task {task} has no result yet"),
        Fact::TaskUnknown { task } => format!(
            "the gateway does not know task {task}: it never had it, dropped it after 24 hours, or \
             has handed out its error already (it does so once; if that read was cut off, the \
             text of the error is lost); this does not tell how the transaction ended"
        ),
        Fact::TaskOutlived { task } => {
            format!("task {task} is older than the 24 hours for which the gateway keeps it")
        }
        Fact::TaskRefused { task, refusal, .. } => {
            format!(
                "task {task} ended in an error: {}",
                describe_refusal(refusal)
            )
        }
        Fact::LookupEmpty => "a look-up by tracking id found nothing at the gateway".to_owned(),
        Fact::Nothing => "it tells nothing about the transaction".to_owned(),
        _ => return None,
    })
}

/// What was told of the gateway's transactions, and whose they are.
fn of_transactions(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::TaskResult { task, snapshot } => {
            format!(
                "the result of task {task}: transaction {}",
                described(snapshot)
            )
        }
        Fact::Answered { attempt, snapshot } => format!(
            "the gateway answered attempt {attempt} with transaction {}",
            described(snapshot)
        ),
        Fact::Anothers { snapshot, .. } => format!(
            "transaction {} was named, which belongs to another transaction of this service, so it \
             counts for nothing here",
            described(snapshot)
        ),
        Fact::Beside { uid, open } if open.is_empty() => format!(
            "transaction {uid} has failed beside the one that our own request named, so that its failure \
             ends nothing here"
        ),
        Fact::Beside { uid, open } => {
            let open: Vec<&str> = open.iter().map(|uid| uid.as_str()).collect();
            format!(
                "transaction {uid} has failed, and {} may be this one as well, so that the failure ends \
                 nothing here before that has ended",
                open.join(", ")
            )
        }
        Fact::Merged { from, snapshot } => format!(
            "what was known as ~{from} turned out to be this one: transaction {}",
            described(snapshot)
        ),
        Fact::MergedInto { into } => format!("it turned out to be ~{into}"),
        Fact::Seen { snapshot, .. } => {
            format!("the gateway reported transaction {}", described(snapshot))
        }
        Fact::Contested { snapshot } => format!(
            "it cannot be told whose the gateway's transaction {} is, so it was counted for none of \
             ours",
            snapshot.uid
        ),
        Fact::UidMissing { uid } => {
            format!("the gateway answered 404 when asked for transaction {uid}")
        }
        _ => return None,
    })
}

/// What the gateway answered, and how it is taken.
fn describe_refusal(refusal: &Refusal) -> String {
    let status = refusal.http_status.map(|status| format!("HTTP {status}"));
    let words = [status, refusal.code.clone()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ");
    let message = refusal
        .message
        .as_ref()
        .map(|message| format!("{message:?}"));
    let parts = [Some(words).filter(|words| !words.is_empty()), message];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let taken = match refusal.kind {
        RefusalKind::Rejected => "refused before any processing",
        RefusalKind::Duplicate => "taken for a duplicate, which may be of this very request",
        RefusalKind::Doubt => "which does not tell whether anything was processed",
    };
    if text.is_empty() {
        taken.to_owned()
    } else {
        format!("{text} ({taken})")
    }
}

fn described(snapshot: &Snapshot) -> String {
    let mut text = format!("{} is {:?}", snapshot.uid, snapshot.status);
    if let Some(code) = &snapshot.code {
        text.push_str(&format!(", code {code}"));
    }
    if let (Some(amount), Some(currency)) = (snapshot.amount, snapshot.currency) {
        text.push_str(&format!(", {amount} {currency} in minor units"));
    }
    if let Some(updated) = snapshot.updated_at {
        text.push_str(&format!(", as of {}", updated.to_rfc3339()));
    }
    text
}

/// What the state means and what it rests on, in a few sentences.
pub fn describe_state(
    opening: &TransactionRequest,
    known: &Summary,
    derived: &DerivedState,
) -> String {
    let candidate = derived
        .uid
        .as_ref()
        .and_then(|uid| known.candidates.get(uid));
    let basis = match &derived.basis {
        StateBasis::Attempts => given_up(known, derived) + &explain_hold(known, derived),
        StateBasis::Task(task) => format!(" It waits for the result of task {task}."),
        StateBasis::Refusal(refusal) => explain_refusal(known, derived, refusal),
        StateBasis::Snapshot(_) => candidate.map_or(String::new(), |c| reported(derived, c)),
        StateBasis::Differs(_) => candidate.map_or(String::new(), |c| differing(opening, c)),
        StateBasis::Absence => " A recorded proof of absence names the look-ups.".to_owned(),
        StateBasis::Operator => decided(known, candidate),
        StateBasis::EarlierRules(ruled) => format!(
            " An earlier release has decided that. By the rules of now it would be {ruled}: what it is stays \
             as it is until the gateway, or a person, says otherwise."
        ),
        StateBasis::Merged(into) => {
            format!(" It is ~{into}, and what is known of it stands there.")
        }
    };
    let doubtful = doubtful(opening, known, derived);
    format!(
        "{}{basis}{doubtful}",
        meaning(derived.state, opening.kind.as_str())
    )
}

/// Why it is not sent, and who can let it be.
fn explain_hold(known: &Summary, derived: &DerivedState) -> String {
    let reason = known
        .held_back()
        .filter(|_| derived.state == State::Accepted);
    reason.map_or(String::new(), |reason| {
        format!(
            " It is held back until a person has looked: {reason}. Posting it again with force (children), \
             or deciding not_sent and posting it again, sends it."
        )
    })
}

/// What the gateway refused, and what look-ups say of it.
fn explain_refusal(known: &Summary, derived: &DerivedState, refusal: &Refusal) -> String {
    let answer = format!(" The gateway's answer: {}.", describe_refusal(refusal));
    let unconfirmed = |check| {
        known
            .tasks
            .values()
            .any(|task| task.checked.contains(&check))
    };
    let found_nothing = unconfirmed(RefusalCheck::FoundNothing);
    let more = match derived.state {
        State::Processing => {
            " Its task told so; a look-up by its tracking id comes first, and it is final once that has \
             found nothing."
        }
        State::Rejected if found_nothing => " A look-up by its tracking id found nothing.",
        State::Rejected if unconfirmed(RefusalCheck::CannotBeShown) => {
            " No look-up confirmed it: this shop's gateway has not been seen to show such a transaction \
             under its own tracking id."
        }
        State::Rejected if unconfirmed(RefusalCheck::LookupsFailed) => {
            " No look-up confirmed it: all of them failed."
        }
        _ => "",
    };
    format!("{answer}{more}")
}

/// Why it is sent no more, where that is so.
fn given_up(known: &Summary, derived: &DerivedState) -> String {
    let given_up = known.gave_up().filter(|_| derived.state == State::NotSent);
    given_up.map_or(String::new(), |reason| {
        format!(" It was given up: {reason}.")
    })
}

/// What stands in the way of a proof of absence, and who can tell whose it is.
fn doubtful(opening: &TransactionRequest, known: &Summary, derived: &DerivedState) -> String {
    if derived.state != State::InDoubt {
        return String::new();
    }
    let listed = |uids: Vec<&Uid>| {
        let uids: Vec<String> = uids.into_iter().map(ToString::to_string).collect();
        (!uids.is_empty()).then(|| uids.join(", "))
    };
    let older = listed(known.doubtful(opening).collect()).map(|uids| {
        format!(
            " The gateway has {uids} under its tracking id, like it in everything, but made before it \
             was sent, if the clocks are right."
        )
    });
    let unlike = listed(known.unlike(opening).collect()).map(|uids| {
        format!(" The gateway has {uids} under its tracking id, which is not what was asked for.")
    });
    let misnamed = listed(known.misnamed.iter().collect()).map(|uids| {
        format!(
            " The gateway answered it with {uids}, which bears another name or belongs to another."
        )
    });
    let mut text: String = older.into_iter().chain(unlike).chain(misnamed).collect();
    if !text.is_empty() {
        text.push_str(
            " While that is so, absence cannot be proved: a person has to see whose it is, and decide.",
        );
    }
    text
}

fn reported(derived: &DerivedState, candidate: &Candidate) -> String {
    let Some(shown) = candidate.best_snapshot() else {
        return String::new();
    };
    let mut text = format!(" The gateway reported: transaction {}.", described(shown));
    if shown.class.is_final() && !derived.state.is_final() {
        text.push_str(
            " It was found by its tracking id alone, and our own request may still be under way, \
             so this does not count as the end yet.",
        );
    }
    text
}

fn differing(opening: &TransactionRequest, candidate: &Candidate) -> String {
    let Some(latest) = candidate.latest.as_deref() else {
        return String::new();
    };
    let differences = Mismatch::between(opening, latest);
    let names = [
        (differences.kind, "type"),
        (differences.amount, "amount"),
        (differences.currency, "currency"),
        (differences.parent, "parent transaction"),
        (differences.test, "mode, test or live"),
    ];
    let names: Vec<&str> = names
        .into_iter()
        .filter(|(on, _)| *on)
        .map(|(_, name)| name)
        .collect();
    if let Some(unread) = &latest.unread {
        return format!(
            " The gateway reported: transaction {}. Not all of it can be read ({unread}), so it does \
             not count until a person accepts it or the gateway reports what was asked for.",
            described(latest)
        );
    }
    format!(
        " The gateway reported: transaction {}. That is not what was asked for (another {}), so it \
         does not count until a person accepts it or the gateway reports what was asked for.",
        described(latest),
        names.join(", ")
    )
}

fn decided(known: &Summary, candidate: Option<&Candidate>) -> String {
    let Some(decision) = &known.decision else {
        return String::new();
    };
    let reported = candidate.and_then(Candidate::best_snapshot).map(|shown| {
        format!(
            " The last report of the gateway: transaction {}.",
            described(shown)
        )
    });
    format!(
        " {} decided this at {}: {}.{}",
        decision.by,
        decision.at.to_rfc3339(),
        decision.reason.trim_end_matches('.'),
        reported.unwrap_or_default()
    )
}

fn meaning(state: State, kind: &str) -> String {
    match state {
        State::Accepted => format!("The {kind} is stored and has not been sent; no money moves."),
        State::Submitting => format!("The {kind} is being sent and may have reached the gateway."),
        State::Processing => format!("The gateway has accepted the {kind} and is working on it."),
        State::Pending => format!("The gateway has the {kind}, and it has not ended."),
        State::InDoubt => format!(
            "It is not known whether the gateway has the {kind}: money may have moved. It is \
             looked up until this is known, and is not sent again on a guess."
        ),
        State::Successful => format!("The {kind} succeeded."),
        State::Failed => format!("The {kind} failed."),
        State::Expired => format!("The {kind} was not completed in time and expired."),
        State::Rejected => {
            format!("The gateway refused the {kind} before processing it; no money moved.")
        }
        State::NotSent => {
            format!("The {kind} was not processed: the gateway never took the request.")
        }
        State::NotFound => format!("The gateway has no such {kind}; look-ups proved it."),
        State::Merged => format!(
            "This {kind} was learned of from the gateway and turned out to be one that was made \
             through this service; it counts there."
        ),
    }
}

/// What happens next, in words.
pub fn describe_step(step: &Step) -> String {
    match step {
        Step::Submit => "it is sent to the gateway".to_owned(),
        Step::GiveUp { reason, .. } => format!("it is given up as not sent: {reason}"),
        Step::TakeOver { attempt } => format!(
            "if attempt {attempt} has no answer by then, it counts as unanswered, and the \
             transaction is looked up"
        ),
        Step::AskTask(task) => format!(
            "the gateway is asked for the result of task {task}, or, where that has told nothing for a \
             while, in turn for its tracking id"
        ),
        Step::ExpireTask(task) => format!(
            "task {task} is no longer kept by the gateway, so the transaction itself is looked up"
        ),
        Step::LookUpUid(uid) => format!("the gateway is asked for transaction {uid}"),
        Step::LookUpTrackingId => "the gateway is asked for its tracking id".to_owned(),
        Step::LookUpBoth(uid) => format!(
            "the gateway is asked for its tracking id, and for transaction {uid} where that does not \
             show it"
        ),
        Step::Idle => "nothing".to_owned(),
    }
}

/// What would change the state.
pub fn would_change(
    opening: &TransactionRequest,
    known: &Summary,
    state: State,
) -> Vec<&'static str> {
    const PROOF: &str =
        "a proof of absence: at least three empty look-ups, the last after the horizon";
    const WEBHOOK: &str = "a signed webhook about it";
    const LOOKUP: &str = "a look-up that finds it at the gateway";
    const PERSON: &str = "an operator's decision, with a reason";
    match state {
        State::Accepted => vec!["sending it, as soon as the gateway can be reached", PERSON],
        State::Submitting => vec![
            "the gateway's answer to the request",
            WEBHOOK,
            "no answer until the lease ends: then it is in doubt",
            PERSON,
        ],
        State::Processing => vec![
            "the result of the task",
            WEBHOOK,
            "the end of the task without a result: then it is in doubt",
            PERSON,
        ],
        State::Pending => {
            vec![
                "a signed webhook or a look-up that reports a final status",
                PERSON,
            ]
        }
        State::InDoubt if known.hinders_absence(opening) => {
            vec![WEBHOOK, LOOKUP, PERSON]
        }
        State::InDoubt => vec![WEBHOOK, LOOKUP, PROOF, PERSON],
        State::Successful | State::Failed | State::Expired => {
            vec![
                "a correction at the gateway: a later report of another final status",
                PERSON,
            ]
        }
        State::Rejected | State::NotFound => vec![WEBHOOK, LOOKUP, PERSON],
        State::Merged => Vec::new(),
        State::NotSent => {
            vec![
                "the same request posted again, which starts the next attempt",
                WEBHOOK,
                PERSON,
            ]
        }
    }
}
