//! What must hold when a run has been left alone for long enough: every order is where the gateway
//! has it.

use super::books::Transaction;
use super::invariants::{self, ours, rule};
use super::plan::{HOUR, Order, Stranger};
use super::world::World;
use domain::absence::Ability;
use domain::{DiscrepancyKind, State};
use reconciler::store::StoredTransaction;
use std::time::Duration;

impl World {
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
            let alike = |one: &Stranger| one.age.is_zero() && one.amount == order.amount;
            let alike = self.strangers_of(order).any(alike);
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

    fn differs(
        &self,
        order: &Order,
        row: &StoredTransaction,
        truth: Option<&Transaction>,
    ) -> Option<String> {
        let told = truth.map_or("nothing", |t| t.status.as_str());
        let ends = match truth {
            Some(truth) => match truth.status.as_str() {
                "successful" => vec![State::Successful],
                "failed" => vec![State::Failed],
                "expired" => vec![State::Expired],
                _ => vec![State::Pending],
            },
            None => vec![State::Rejected, State::NotFound, State::NotSent],
        };
        // What look-ups cannot show stays in doubt.
        let is_hopeless = row.state == State::InDoubt && !self.provable(row, truth);
        // What may only seem to be older is left for a person.
        let apart = self.plan.behind > Duration::from_secs(60);
        let nearly = |one: &Stranger| !one.age.is_zero() && one.age < 24 * HOUR;
        let is_doubtful = apart || self.strangers_of(order).any(nearly);
        // So is what is there under its name, could be it, and is not what was asked for.
        let is_told = |kind| {
            self.with(|state| {
                let mut findings = state.db.findings.iter().filter(|finding| finding.is_open);
                findings.any(|finding| {
                    finding.kind == kind && finding.transaction_id == Some(row.record.id)
                })
            })
        };
        let is_strange = (self.strangers_of(order).next().is_some()
            || !row.summary.misnamed.is_empty())
            && is_told(DiscrepancyKind::AmbiguousTrackingId);
        let is_doubtful = is_doubtful || is_strange;
        let waits = is_doubtful && row.state == State::InDoubt;
        // The other mode waits for a person.
        let is_mixed = row.state == State::Pending && is_told(DiscrepancyKind::TestLiveMix);
        let fits = ends.contains(&row.state) || is_hopeless || waits || is_mixed;
        (!fits).then(|| {
            format!(
                "{} is {}, and the gateway has {told}",
                order.name, row.state
            )
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
