//! What an earlier release has left: taken over once, before anything else is learned of it.

use super::Batch;
use crate::observation::{Observation, content_id};
use crate::store::StoredTransaction;
use domain::fold::StateBasis;
use domain::{DiscrepancyKind, Fact, State, Verdict};
use serde_json::json;
use std::borrow::Cow;
use uuid::Uuid;

/// The act by which an end is kept that an earlier release has decided.
const DECIDED_BEFORE: &str = "decided_before";

/// The act by which something open is taken over.
const TAKEN_OVER: &str = "taken_over";

/// The act that says that an end which was taken over before has been looked over.
const LOOKED_OVER: &str = "looked_over";

/// How a transaction is taken over from a program of an earlier release that wrote it last; `None` where that
/// was this one.
pub fn take_over(stored: &StoredTransaction) -> Option<Observation> {
    let summary = &stored.summary;
    if summary.is_by_our_rules(stored.evidence_count) {
        return None;
    }
    let end = summary.earlier.as_ref().filter(|_| stored.state.is_final());
    let mut noted = match end {
        Some(end) => {
            let act = serde_json::to_value(end).unwrap_or_default();
            let facts = vec![Fact::DecidedBefore(end.clone())];
            Observation::local(domain::Channel::Local, DECIDED_BEFORE, &act, facts)
        }
        None => {
            let act = json!({ "state": stored.state });
            let channel = domain::Channel::Local;
            let mut noted = Observation::local(channel, TAKEN_OVER, &act, Vec::new());
            noted.note = Some("an earlier release has read what came before this".to_owned());
            noted
        }
    };
    // Where a program of the earlier release goes on beside this one, it may be taken over more than once.
    noted.id = content_id(&[b"taken over", &stored.evidence_head]);
    noted.verdict = Some(Verdict::Applied);
    if let StateBasis::EarlierRules(ruled) = stored.derived().basis {
        look_it_up(&mut noted, stored.state, ruled);
    }
    Some(noted)
}

/// What is noted of an end that was taken over before it was looked over: nothing of its own, and once.
pub fn looked_over(stored: &StoredTransaction) -> Observation {
    let act = json!({ "state": stored.state });
    let mut noted = Observation::local(domain::Channel::Local, LOOKED_OVER, &act, Vec::new());
    noted.note = Some("an earlier release has ended it by other rules".to_owned());
    noted.id = content_id(&[b"looked over", stored.record.id.as_bytes()]);
    noted.verdict = Some(Verdict::Applied);
    noted
}

/// Has it looked up at the gateway, and tells a person that the rules of now would say something else.
pub fn look_it_up(noted: &mut Observation, state: State, ruled: State) {
    noted.recheck_now = true;
    noted.wishes.by_name = true;
    let text =
        format!("an earlier release ended it as {state}; by the rules of now it would be {ruled}");
    noted.finding = Some((DiscrepancyKind::StatusConflict, text));
}

impl Batch<'_> {
    /// Takes a transaction over before it learns something. Whether a look-up becomes due by that.
    pub(super) fn take_it_over(&mut self, id: Uuid, learned: &Observation) -> bool {
        let is_act = matches!(
            learned.subject.as_deref(),
            Some(DECIDED_BEFORE | TAKEN_OVER | LOOKED_OVER)
        );
        let Some(noted) = self.rows.get(id).filter(|_| !is_act).and_then(take_over) else {
            return false;
        };
        let facts = noted.facts.iter().map(Cow::Borrowed).collect();
        self.join_facts(id, &noted, facts, Verdict::Applied);
        if let Some((kind, text)) = &noted.finding {
            self.find(id, *kind, ("", text), Vec::new());
        }
        if let Some(row) = self.rows.map.get_mut(&id) {
            row.wished.join(&noted.wishes);
        }
        noted.recheck_now
    }
}
