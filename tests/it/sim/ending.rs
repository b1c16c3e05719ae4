//! What must hold when a run has been left alone for long enough: every order is where the gateway
//! has it.

use super::gateway::Transaction;
use super::invariants::{self, ours, rule};
use super::plan::{Foreign, Order};
use super::world::World;
use reconciler::domain::{State, TransactionType};
use reconciler::store::StoredTransaction;
use std::time::Duration;

impl World {
    /// Compares all orders with the gateway's truth.
    pub fn judge(&self) {
        self.with(invariants::chained);
        for order in &self.plan.orders {
            let row = self.with(|state| state.db.by_id(state.db.named(&order.name)?));
            let Some(row) = row else { continue };
            self.with(|state| state.seen.count(row.state.as_str()));
            let decided = self.with(|state| state.seen.decided.contains(&order.name));
            let alike = order.foreign == Some(Foreign::Alike);
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

    fn differs(
        &self,
        order: &Order,
        row: &StoredTransaction,
        truth: Option<&Transaction>,
    ) -> Option<String> {
        let told = truth.map_or("nothing", |t| t.status);
        let ends = match truth {
            Some(truth) => match truth.status {
                "successful" => vec![State::Successful],
                "failed" => vec![State::Failed],
                "expired" => vec![State::Expired],
                _ => vec![State::Pending],
            },
            None => vec![State::Rejected, State::NotFound, State::NotSent],
        };
        // Where children are filed under their parent's name, a lost answer stays in doubt.
        let child = order.kind == TransactionType::Refund;
        let is_hopeless = child && row.state == State::InDoubt && !self.provable(truth);
        // What may only seem to be older is left for a person.
        let apart = self.plan.behind > Duration::from_secs(60);
        let is_doubtful = apart || order.foreign == Some(Foreign::Nearly);
        let waits = is_doubtful && row.state == State::InDoubt;
        let fits = ends.contains(&row.state) || is_hopeless || waits;
        (!fits).then(|| {
            format!(
                "{} is {}, and the gateway has {told}",
                order.name, row.state
            )
        })
    }

    /// Whether a child can be found, or its absence proved.
    fn provable(&self, truth: Option<&Transaction>) -> bool {
        let seen = self.with(|state| !state.db.capabilities.is_empty());
        match truth {
            Some(_) => self.plan.own_children,
            None => seen,
        }
    }
}
