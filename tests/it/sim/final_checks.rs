//! What must hold when a run has been left alone for long enough: every order is where the gateway
//! has it.

use super::books::Transaction;
use super::invariants::{self, ours, rule};
use super::plan::{HOUR, Notices, Order, Router, Stranger};
use super::rules::{is_alike, is_by_design, is_hidden, is_honest, is_unseen, names};
use super::world::SimState;
use domain::absence::{Ability, is_duplicate_provable};
use domain::schedule::{is_duplicate_doubt, needs_no_recheck};
use domain::{DiscrepancyKind, State};
use reconciler::store::StoredTransaction;
use std::time::Duration;

impl SimState {
    /// Compares all orders with the gateway's truth.
    pub fn judge(&self) {
        self.with(invariants::chained);
        let now = self.exec.now();
        self.with(|state| super::rules::end(state, now));
        for order in &self.plan.orders {
            let row = self.with(|state| state.db.by_id(state.db.named(&order.name)?));
            let Some(row) = row else { continue };
            self.with(|state| state.seen.count(row.state.as_str()));
            let decided = self.with(|state| state.seen.decided.contains(&order.name));
            let alike = |one: &&Stranger| one.age.is_zero() && one.amount == order.amount;
            let alike = self.strangers_of(order).any(|one| alike(&one))
                || self.beside(order).any(|one| alike(&one));
            if decided || alike {
                continue;
            }
            let truth = self.with(|state| ours(state, &order.name).cloned());
            if row.summary.doubtful(&row.opening).next().is_some() {
                self.with(|state| state.seen.count("doubtful ages"));
            }
            if let Some(wrong) = self.differs(order, &row, truth.as_ref()) {
                self.with(|state| state.breaks(rule::TRUTH, wrong));
            }
        }
    }

    fn strangers_of(&self, order: &Order) -> impl Iterator<Item = &Stranger> {
        let all = self.plan.strangers.iter();
        all.filter(|one| one.name == order.name)
    }

    /// Those that go by a child's parent's name and are of its kind.
    fn beside(&self, order: &Order) -> impl Iterator<Item = &Stranger> {
        let all = self
            .plan
            .strangers
            .iter()
            .filter(|one| one.kind == order.kind);
        all.filter(|one| Some(&one.name) == order.parent.as_ref())
    }

    fn differs(
        &self,
        order: &Order,
        row: &StoredTransaction,
        truth: Option<&Transaction>,
    ) -> Option<String> {
        // The other mode waits for a person.
        let is_mixed =
            row.state == State::Pending && self.is_told(row, DiscrepancyKind::TestLiveMix);
        let about = |judge: fn(&Self, &StoredTransaction, &Transaction) -> bool| {
            truth.is_some_and(|truth| judge(self, row, truth))
        };
        let fits = ends(truth).contains(&row.state)
            || is_mixed
            || self.is_in_doubt_for_good(order, row, truth)
            || truth.is_some_and(|truth| self.is_unlike(order, row, truth))
            || about(Self::is_misled)
            || about(Self::is_unshown_refusal)
            || about(Self::is_spoilt)
            || about(Self::is_named)
            || truth.is_some() && self.with(|state| is_by_design(state, row, row.state))
            || about(Self::is_lost);
        let told = truth.map_or("nothing", |t| t.status.as_str());
        (!fits).then(|| {
            format!(
                "{} is {}, and the gateway has {told}",
                order.name, row.state
            )
        })
    }

    /// Whether a finding of a kind is open about a row.
    fn is_told(&self, row: &StoredTransaction, kind: DiscrepancyKind) -> bool {
        self.with(|state| {
            let mut findings = state.db.findings.iter().filter(|finding| finding.is_open);
            findings.any(|finding| {
                finding.kind == kind && finding.transaction_id == Some(row.record.id)
            })
        })
    }

    /// Whether it is in doubt, and nothing that the service can see resolves it.
    fn is_in_doubt_for_good(
        &self,
        order: &Order,
        row: &StoredTransaction,
        truth: Option<&Transaction>,
    ) -> bool {
        let is_stuck = self.is_told(row, DiscrepancyKind::PendingTooLong);
        // An `E.1018` stays in doubt where look-ups were never seen to show such a transaction.
        let kind = row.opening.kind;
        let is_shown = self.with(|state| is_duplicate_provable(kind, &state.db.abilities));
        if !is_shown && is_duplicate_doubt(&row.derived()) && is_stuck {
            return true;
        }
        if row.state != State::InDoubt {
            return false;
        }
        // What may only seem to be older is left for a person.
        let apart = self.plan.behind > Duration::from_secs(60);
        let nearly = |one: &Stranger| !one.age.is_zero() && one.age < 24 * HOUR;
        let is_doubtful = apart || self.strangers_of(order).any(nearly);
        // So is what is there under its name, could be it, and is not what was asked for.
        let is_strange = (self.strangers_of(order).next().is_some()
            || self.beside(order).next().is_some()
            || !row.summary.misnamed.is_empty())
            && self.is_told(row, DiscrepancyKind::AmbiguousTrackingId);
        // Where look-ups are seen not to show what exists, or tell nothing, absence cannot be proved: those of the
        // control neither.
        let is_unproved = (self.plan.router != Router::All || !self.are_names_honest()) && is_stuck;
        is_doubtful || is_strange || is_unproved || !self.provable(row, truth)
    }

    /// Whether the gateway has it otherwise than it was asked for, or under another name, and that is told.
    fn is_unlike(&self, order: &Order, row: &StoredTransaction, truth: &Transaction) -> bool {
        let named = truth.name == order.name || Some(&truth.name) == order.parent.as_ref();
        let open = matches!(row.state, State::InDoubt | State::Pending);
        // An end stays one that agreed when it was told.
        let ended = matches!(
            row.state,
            State::Successful | State::Failed | State::Expired
        );
        let unlike = !is_alike(row, truth);
        (open && !named || (open || ended) && unlike) && self.is_told_of(row, truth)
    }

    /// Whether the look by its uid tells otherwise to the end, and no name shows it: it stays as it was told, under a
    /// finding that names it, or says that it has not ended for days.
    fn is_misled(&self, row: &StoredTransaction, truth: &Transaction) -> bool {
        let name = truth.name.as_str();
        let by_name = is_honest(&self.plan, "name", name) && self.provable(row, Some(truth));
        let told =
            self.is_told_of(row, truth) || self.is_told(row, DiscrepancyKind::PendingTooLong);
        // An end that it had stands as well, where no signed webhook tells of the correction.
        let had = truth.had(row.state.as_str()) && self.plan.notices != Notices::Signed;
        (row.state == State::Pending && told || had)
            && !by_name
            && !is_honest(&self.plan, "uid", &truth.uid)
    }

    /// Whether it is a refusal that the books contradict, where no look can show it.
    fn is_unshown_refusal(&self, row: &StoredTransaction, truth: &Transaction) -> bool {
        row.state == State::Rejected && self.with(|state| is_unseen(state, row, truth))
    }

    /// Whether it rests on what our own task named: of several that have ended that one counts first, under a finding
    /// that names both.
    fn is_named(&self, row: &StoredTransaction, truth: &Transaction) -> bool {
        row.derived().uid.is_some_and(|uid| {
            let by_task = self.with(|state| state.wire.named_by_task.contains(uid.as_str()));
            by_task && truth.uid != uid.as_str() && self.is_told_of(row, truth)
        })
    }

    /// Whether it goes by a strange name, and nobody told of it, so that it cannot be found.
    fn is_lost(&self, row: &StoredTransaction, truth: &Transaction) -> bool {
        let is_stuck = self.is_told(row, DiscrepancyKind::PendingTooLong);
        let unfound = row.state == State::InDoubt && is_stuck;
        (row.state == State::NotFound || unfound) && self.with(|state| is_hidden(state, row, truth))
    }

    /// Whether look-ups by every name tell the truth.
    fn are_names_honest(&self) -> bool {
        let mut orders = self.plan.orders.iter();
        orders.all(|order| is_honest(&self.plan, "name", &order.name))
    }

    /// Whether a success that two ways have told needs no more looks, and the webhook of its correction, which a
    /// later look would have stood in for, came spoilt.
    fn is_spoilt(&self, row: &StoredTransaction, truth: &Transaction) -> bool {
        let mut exchanges = self.plan.exchanges.iter();
        needs_no_recheck(&row.summary, &row.derived())
            && truth.had(row.state.as_str())
            && exchanges.any(|one| one.channel == "webhook" && one.about == truth.uid)
    }

    /// Whether an open finding about a row names a transaction.
    fn is_told_of(&self, row: &StoredTransaction, truth: &Transaction) -> bool {
        self.with(|state| {
            let open = state.db.findings.iter().filter(|finding| finding.is_open);
            let mut about = open.filter(|one| one.transaction_id == Some(row.record.id));
            about.any(|one| names(&format!("{one:?}"), &truth.uid))
        })
    }

    /// Whether it can be found, or its absence proved.
    fn provable(&self, row: &StoredTransaction, truth: Option<&Transaction>) -> bool {
        let kind = row.opening.kind;
        let name = row.opening.tracking_id.as_ref().map(ToString::to_string);
        let name = name.unwrap_or_default();
        if self.plan.empty || !self.plan.router.shows(&name, &name) {
            return false;
        }
        if !kind.is_child() {
            // Without a control of its signs a name cannot be proved absent.
            return truth.is_some() || !name.contains(['.', ':']);
        }
        let word = Ability::shows(kind);
        match truth {
            Some(_) => self.plan.own_children && self.plan.children_shown,
            None => self.with(|state| state.db.abilities.iter().any(|a| a.word == word)),
        }
    }
}

/// The states that fit what the gateway has.
fn ends(truth: Option<&Transaction>) -> Vec<State> {
    match truth.map(|truth| truth.status.as_str()) {
        Some("successful") => vec![State::Successful],
        Some("failed") => vec![State::Failed],
        Some("expired") => vec![State::Expired],
        Some(_) => vec![State::Pending],
        None => vec![State::Rejected, State::NotFound, State::NotSent],
    }
}
