//! Evidence of a batch: brought to its owner, joined, chained, and told of.

use super::{Batch, BatchRow, PendingResult, is_contested, receive, snapshot_of, to_json};
use crate::ledger::route::{RoutedFacts, adopted_fact, orphan_kind};
use crate::ledger::{EvidenceTarget, LedgerSettings, RecordEvidence, discrepancies};
use crate::observation::Observation;
use crate::store::{EventWrite, OrphanWrite, StoredTransaction, batch as rows};
use domain::evidence::{FoundBy, Namer};
use domain::fold::StateBasis;
use domain::forecast::{self, CompletionSample};
use domain::{
    Channel, Discrepancy, DiscrepancyKind, Fact, Origin, ShopId, Snapshot, State,
    TransactionRequest,
};
use domain::{Summary, Timestamp, TransactionType, Uid, Verdict, verdict};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use uuid::Uuid;
use words::Mention;

/// What was shown of a transaction before an arrival, beside what is shown after it.
pub(super) enum StateBefore {
    /// The same.
    Same,
    /// Something else.
    Other,
    /// This (JSON), which is to be compared.
    Shown(String),
}

impl Batch<'_> {
    pub(super) fn record(&mut self, record: &RecordEvidence) -> PendingResult {
        let learned = &record.observation;
        if learned.orphan_kind == "refused" {
            self.opened.push(discrepancies::about_shop(
                DiscrepancyKind::SignatureRejected,
                learned.subject.as_deref().unwrap_or(""),
                &learned.sentence(),
                self.at,
            ));
            return PendingResult::Recorded {
                verdict: Verdict::Refused,
                id: None,
                told: false,
            };
        }
        let mut first: Option<(Verdict, Uuid)> = None;
        let mut adopted = None;
        for delivery in self.routing.route(record, &self.rows) {
            match delivery {
                RoutedFacts::To(id, facts) => {
                    // One that turned out to be another by what came right before learns no more.
                    let row = self.rows.get(id);
                    if row.is_none_or(|row| row.state == State::Merged) && !is_target(record, id) {
                        continue;
                    }
                    if row.is_none() {
                        continue;
                    }
                    let verdict = self.apply_to_transaction(record, id, facts);
                    first.get_or_insert((verdict, id));
                }
                RoutedFacts::Adopt(snapshot) => {
                    adopted = self.adopt(learned, &snapshot, None).or(adopted);
                }
                RoutedFacts::Unclaimed(snapshot, kind) => {
                    adopted = self.adopt(learned, &snapshot, kind).or(adopted);
                }
                RoutedFacts::Orphan(snapshot) => self.orphan(learned, snapshot.as_deref()),
                RoutedFacts::Offered(id, told, fact) => self.offer(id, *told, *fact),
            }
        }
        match (first.or(adopted), &record.target) {
            (Some((verdict, id)), target) => PendingResult::Recorded {
                verdict,
                id: Some(id),
                told: matches!(target, crate::ledger::EvidenceTarget::Transaction(_)),
            },
            (None, crate::ledger::EvidenceTarget::Transaction(_)) => PendingResult::NotFound,
            (None, crate::ledger::EvidenceTarget::Snapshots) => PendingResult::Recorded {
                verdict: Verdict::NothingNew,
                id: None,
                told: false,
            },
        }
    }

    /// Brings to one of ours what the request of another was answered, and bears its name.
    fn offer(&mut self, id: Uuid, told: Observation, fact: Fact) {
        let row = self.rows.get(id);
        if row.is_none_or(|row| row.state == State::Merged) {
            return;
        }
        let record = RecordEvidence {
            target: EvidenceTarget::Snapshots,
            observation: told,
            lease: None,
            next_check: None,
        };
        self.apply_to_transaction(&record, id, vec![Cow::Owned(fact)]);
    }

    /// Brings evidence to a locked transaction, and settles its next check.
    pub(super) fn apply_to_transaction(
        &mut self,
        record: &RecordEvidence,
        id: Uuid,
        facts: Vec<Cow<'_, Fact>>,
    ) -> Verdict {
        let learned = &record.observation;
        let row = self.rows.map.get(&id);
        let before = row.map(|row| row.derived.state);
        let rested = row.and_then(|row| row.derived.uid.clone());
        // What comes too late is kept, and concludes nothing.
        let (facts, bare) = if self.may_conclude(record, id) {
            (facts, Verdict::NothingNew)
        } else {
            (Vec::new(), Verdict::Refused)
        };
        let duplicate = self.known.contains(&(id, learned.id));
        let (verdict, look_again) = if duplicate {
            self.counted.push((learned.channel, Verdict::Duplicate));
            (Verdict::Duplicate, false)
        } else {
            self.known.insert((id, learned.id));
            self.join_facts(id, learned, facts, bare)
        };
        if !duplicate && let Some((kind, text)) = &learned.finding {
            self.find(id, *kind, ("", text), learned.mentions.clone());
        }
        if !duplicate && let Some(text) = &learned.unknown {
            let about = (learned.channel.as_str(), text.as_str());
            self.find(id, DiscrepancyKind::UnknownBody, about, Vec::new());
        }
        let look_again = look_again
            || (learned.recheck_now && !duplicate)
            || self.rests_anew(id, before, rested.as_ref());
        self.reschedule(record, id, before, look_again);
        verdict
    }

    /// Whether what is final, and was looked at for the last time, rests on another transaction now.
    fn rests_anew(&self, id: Uuid, before: Option<State>, rested: Option<&Uid>) -> bool {
        self.rows.map.get(&id).is_some_and(|row| {
            let was_final = before.is_some_and(State::is_final) && row.derived.state.is_final();
            let now = row.derived.uid.as_ref();
            was_final && row.check.is_none() && rested.is_some() && now != rested
        })
    }

    /// Joins facts, chains the evidence, and notes events and findings. Returns the verdict, and
    /// whether a look at the gateway becomes due.
    pub(super) fn join_facts(
        &mut self,
        id: Uuid,
        learned: &Observation,
        facts: Vec<Cow<'_, Fact>>,
        bare: Verdict,
    ) -> (Verdict, bool) {
        let taken_over = self.take_it_over(id, learned);
        self.note_beside(id, &facts, learned);
        let (verdict, look_again) = self.join(id, learned, facts, bare);
        (verdict, look_again || taken_over)
    }

    pub(super) fn join(
        &mut self,
        id: Uuid,
        learned: &Observation,
        facts: Vec<Cow<'_, Fact>>,
        bare: Verdict,
    ) -> (Verdict, bool) {
        let at = self.at;
        let answered_at = self.dated(learned);
        let counted = facts.into_iter();
        let counted = counted.filter_map(|fact| self.as_it_counts(id, fact));
        let mut counted: Vec<Cow<'_, Fact>> = counted.collect();
        counted
            .iter_mut()
            .for_each(|fact| receive(fact, answered_at));
        let Some(row) = self.rows.map.get_mut(&id) else {
            return (bare, false);
        };
        let facts: Vec<&Fact> = counted.iter().map(AsRef::as_ref).collect();
        let anothers = named_of_another(&row.stored.summary, learned, &facts);
        let (opening, known) = (&row.stored.opening, &row.stored.summary);
        let mut change = verdict::apply_to(opening, known, row.derived.clone(), &facts);
        let verdict = match (learned.verdict, facts.is_empty()) {
            (Some(verdict), _) => verdict,
            (None, true) => bare,
            // What could equally be another's is not believed by itself; an auditor has to see that
            // in what is stored.
            (None, false) if facts.iter().all(|fact| is_contested(fact)) => Verdict::Hint,
            (None, false) => change.verdict,
        };
        let stored = &row.stored;
        let sight = lesson(stored, &change, &facts, learned.channel, at, self.settings);
        let mut summary = std::mem::take(&mut change.summary);
        summary.record_final_sources(&facts, learned.channel, learned.signed);
        let before = if change.before.state != change.after.state {
            StateBefore::Other
        } else if summary != stored.summary || change.after.state != stored.state {
            StateBefore::Shown(to_json(&stored.view_of(&change.before)))
        } else {
            StateBefore::Same
        };
        self.seen
            .extend(sight.map(|seen| (stored.opening.kind, seen)));
        row.accept(summary, &change.after, at);
        let evidence = row.chain(learned, verdict, answered_at);
        self.evidence.push(evidence);
        self.counted.push((learned.channel, verdict));
        self.note_change(id, &before, &change);
        self.note_findings(id, &change, learned);
        self.note_claims(id, &counted);
        for uid in anothers {
            self.note_anothers(id, &uid);
        }
        let row = self.rows.map.get_mut(&id);
        let looks_again = row.is_some_and(|row| row.looks_again(learned, &change));
        let ended = change.after.state.is_final() && change.after.state != State::Merged;
        if !change.before.state.is_final() && ended {
            let row = self.rows.get(id);
            self.ended.extend(row.map(|row| {
                (
                    row.opening.kind,
                    learned.channel,
                    at.since(row.record.created_at),
                )
            }));
        }
        (verdict, looks_again)
    }

    pub(super) fn note_change(
        &mut self,
        id: Uuid,
        before: &StateBefore,
        change: &verdict::AppliedChange,
    ) {
        let at = self.at;
        if matches!(before, StateBefore::Same) {
            return;
        }
        let Some(row) = self.rows.map.get_mut(&id) else {
            return;
        };
        if let StateBefore::Shown(before) = before
            && *before == to_json(&row.stored.view_of(&change.after))
        {
            return;
        }
        // Opening by a caller is told to the caller; the feed begins with what follows.
        let opening = matches!(change.after.state, State::Accepted | State::Submitting);
        if row.place.is_none() && opening && row.stored.opening.origin == Origin::Api {
            return;
        }
        row.stored.record.sequence += 1;
        row.stored.record.updated_at = at;
        let kind = match (change.before.state, change.after.state) {
            (old, new) if old.is_final() && old != new => "transaction.corrected",
            (old, new) if !old.is_final() && new.is_final() => "transaction.finalized",
            _ => "transaction.updated",
        };
        self.events.push(EventWrite {
            kind,
            transaction_id: Some(id),
            payload: to_json(&row.stored.view_of(&change.after)),
        });
    }

    pub(super) fn note_findings(
        &mut self,
        id: Uuid,
        change: &verdict::AppliedChange,
        learned: &Observation,
    ) {
        let Some(row) = self.rows.map.get(&id) else {
            return;
        };
        let reason = learned.reason.as_deref();
        let subject = |f: &Discrepancy| f.uid.as_ref().map(ToString::to_string).unwrap_or_default();
        for finding in &change.opened {
            // What healed in this very batch and is indicated again does not heal.
            let subject = subject(finding);
            self.healed.retain(|healed| {
                (healed.transaction_id, healed.kind) != (id, finding.kind)
                    || healed.subject != subject
            });
            let about = discrepancies::transaction_discrepancy(&row.stored, finding, self.at);
            self.opened.push(about);
        }
        self.healed
            .extend(change.healed.iter().map(|f| rows::ResolvedDiscrepancy {
                transaction_id: id,
                kind: f.kind,
                subject: subject(f),
                reason: reason.unwrap_or(why_healed(f.kind)).to_owned(),
                by: learned.by.clone(),
            }));
    }

    pub(super) fn find(
        &mut self,
        id: Uuid,
        kind: DiscrepancyKind,
        (subject, detail): (&str, &str),
        uids: Vec<Mention>,
    ) {
        let Some(row) = self.rows.map.get(&id) else {
            return;
        };
        let finding = domain::Discrepancy {
            kind,
            uid: None,
            basis: None,
            detail: detail.to_owned(),
            uids,
        };
        let mut found = discrepancies::transaction_discrepancy(&row.stored, &finding, self.at);
        found.subject = subject.to_owned();
        self.opened.push(found);
    }

    /// A finding about one of the gateway's transactions.
    fn find_of(&mut self, id: Uuid, kind: DiscrepancyKind, snapshot: &Snapshot, detail: String) {
        let finding = Discrepancy {
            kind,
            uid: Some(snapshot.uid.clone()),
            basis: None,
            detail,
            uids: vec![Mention::from(snapshot)],
        };
        let row = self.rows.get(id);
        self.opened
            .extend(row.map(|row| discrepancies::transaction_discrepancy(row, &finding, self.at)));
    }

    /// Makes a transaction of origin `gateway` of something that the gateway told. `unsaid`: what it is
    /// when the gateway does not say.
    pub(super) fn adopt(
        &mut self,
        learned: &Observation,
        snapshot: &Snapshot,
        unsaid: Option<TransactionType>,
    ) -> Option<(Verdict, Uuid)> {
        // One body may describe it twice.
        if self.routing.owner(&snapshot.uid).is_some() {
            return None;
        }
        let kind = match snapshot.kind.as_deref() {
            Some(word) => TransactionType::parse(word)?,
            None => unsaid?,
        };
        let parent = snapshot
            .parent_uid
            .as_ref()
            .and_then(|uid| self.routing.owner(uid));
        let parent_tracking_id = parent
            .and_then(|id| self.rows.get(id))
            .and_then(|p| p.opening.tracking_id.clone());
        let id = taken_over_as(self.at, self.shop, &snapshot.uid);
        let opening = TransactionRequest {
            shop: self.shop.clone(),
            tracking_id: snapshot.tracking_id.clone(),
            kind,
            origin: Origin::Gateway,
            amount: snapshot.amount,
            currency: snapshot.currency,
            parent_uid: snapshot.parent_uid.clone(),
            parent_tracking_id,
            card_data: false,
            test: snapshot.test,
            opened_at: self.at,
        };
        let record = crate::view::Record {
            id,
            description: snapshot.description.clone(),
            created_at: self.at,
            updated_at: self.at,
            finalized_at: None,
            next_check_at: None,
            sequence: 1,
        };
        let stored = StoredTransaction {
            opening,
            summary: Summary::default(),
            record,
            state: State::Accepted,
            state_since: self.at,
            fingerprint: Vec::new(),
            fingerprint_key: String::new(),
            evidence_count: 0,
            evidence_head: [0; 32],
        };
        self.rows.map.insert(id, Box::new(BatchRow::new(stored)));
        self.known.insert((id, learned.id));
        let facts = vec![Cow::Owned(adopted_fact(snapshot))];
        let (verdict, _) = self.join_facts(id, learned, facts, Verdict::Applied);
        if kind != TransactionType::Chargeback {
            let detail = format!("the gateway has a {kind} that was not made through this service");
            self.find_of(id, DiscrepancyKind::MissingHere, snapshot, detail);
        }
        self.settle_new(id);
        Some((verdict, id))
    }

    pub(super) fn orphan(&mut self, learned: &Observation, snapshot: Option<&Snapshot>) {
        if learned.kept {
            return;
        }
        let text = |f: fn(&Snapshot) -> Option<String>| snapshot.and_then(f);
        let orphan = OrphanWrite {
            id: learned.id,
            kind: orphan_kind(learned),
            uid: text(|s| Some(s.uid.to_string())),
            tracking_id: text(|s| s.tracking_id.as_ref().map(ToString::to_string)),
            parent_uid: text(|s| s.parent_uid.as_ref().map(ToString::to_string)),
            signed: learned.signed == Some(true),
            note: learned.sentence(),
            body: learned.body.clone(),
            body_sha256: learned.body_sha256,
        };
        self.counted.push((learned.channel, Verdict::NothingNew));
        if orphan.kind == "queried" {
            return;
        }
        let chargeback = snapshot.and_then(|s| s.kind.as_deref()) == Some("chargeback");
        let kind = match orphan.kind {
            "transaction" if learned.verdict == Some(Verdict::Hint) => None,
            "transaction" if chargeback => Some(DiscrepancyKind::ChargebackUnmatched),
            "transaction" => Some(DiscrepancyKind::OrphanWebhook),
            "unknown" => Some(DiscrepancyKind::UnknownBody),
            _ => None,
        };
        if let Some(kind) = kind {
            let subject = orphan.uid.clone().unwrap_or_else(|| orphan.id.to_string());
            let mut row = discrepancies::about_shop(kind, &subject, &orphan.note, self.at);
            row.uid = orphan.uid.clone();
            row.tracking_id = orphan.tracking_id.clone();
            row.amount = snapshot.and_then(|s| s.amount);
            row.currency = snapshot.and_then(|s| s.currency).map(|c| c.to_string());
            row.uids = snapshot.map(Mention::from).into_iter().collect();
            self.of_orphans.push((orphan.id, row));
        }
        self.orphans.push(orphan);
    }
}

fn is_target(record: &RecordEvidence, id: Uuid) -> bool {
    record.target == crate::ledger::EvidenceTarget::Transaction(id)
}

/// The uids that our own word, or a person's, has named now and that belong to another of ours. What was
/// merely found and is another's is nobody's word.
fn named_of_another(known: &Summary, learned: &Observation, facts: &[&Fact]) -> Vec<Uid> {
    let found = |uid: &Uid| {
        learned.facts.iter().any(|fact| {
            matches!(fact, Fact::Seen { snapshot, found_by: FoundBy::TrackingId }
                if snapshot.uid == *uid)
        })
    };
    let is_noted = |by: Option<&Namer>, uid: &Uid| match by {
        Some(_) => known.misnamed.contains(uid),
        None => known.anothers.contains_key(uid),
    };
    let named = facts.iter().filter_map(|fact| match fact {
        Fact::Anothers { by, snapshot } if !is_noted(by.as_ref(), &snapshot.uid) => {
            Some(&snapshot.uid)
        }
        _ => None,
    });
    named.filter(|uid| !found(uid)).cloned().collect()
}

/// Why a finding that is indicated no more is closed.
const fn why_healed(kind: DiscrepancyKind) -> &'static str {
    if kind.is_mismatch() {
        "what the gateway has agrees now"
    } else {
        "what is known by now no longer indicates it"
    }
}

/// What an arrival teaches of the time to final, if it tells of an end of ours.
fn lesson(
    stored: &StoredTransaction,
    change: &verdict::AppliedChange,
    facts: &[&Fact],
    channel: Channel,
    at: Timestamp,
    settings: &LedgerSettings,
) -> Option<CompletionSample> {
    let by_webhook = match channel {
        Channel::Webhook => true,
        Channel::TaskResult | Channel::Query => false,
        _ => return None,
    };
    let (after, sent) = (&change.after, change.summary.sent_at()?);
    let ended = facts
        .iter()
        .filter_map(|fact| snapshot_of(fact))
        .find(|s| s.class.is_final() && Some(&s.uid) == after.uid.as_ref())?;
    if stored.opening.origin != Origin::Api || !matches!(after.basis, StateBasis::Snapshot(_)) {
        return None;
    }
    let known = stored.summary.candidates.get(&ended.uid);
    // A webhook may have told before of a failure that only our own task could confirm.
    let told = known.is_some_and(|candidate| candidate.final_via_webhook.is_some());
    if !stored.state.is_final() && after.state.is_final() {
        let tolerance = settings.clock_tolerance;
        let took = forecast::gateway_duration(sent, ended.updated_at, at, by_webhook, tolerance);
        return Some(if by_webhook || told {
            CompletionSample::ByWebhook(took)
        } else {
            CompletionSample::ByAsking(took)
        });
    }
    // The first webhook of an end that we had asked for.
    let asked = known.is_some_and(|candidate| candidate.final_via_query.is_some());
    let after_all = by_webhook && !told && asked;
    let late = at.since(stored.record.finalized_at?);
    (after_all && forecast::is_in_time(late)).then_some(CompletionSample::WebhookAfterAll)
}

/// Our id of what is taken over: ordered by time as all ids, and made of content, so that the same work makes
/// the same rows.
fn taken_over_as(at: Timestamp, shop: &ShopId, uid: &Uid) -> Uuid {
    let hash = Sha256::new()
        .chain_update(shop.as_str())
        .chain_update([0])
        .chain_update(uid.as_str())
        .finalize();
    let mut rest = [0; 10];
    rest.copy_from_slice(&hash[..10]);
    let millis = u64::try_from(at.micros() / 1000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &rest).into_uuid()
}
