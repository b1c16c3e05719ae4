//! Rules by which the gateway refuses well-formed requests: missing parents, parents in the wrong
//! state, amounts above the remainder, and duplicates within 30 seconds.

use std::sync::Arc;

use serde_json::json;

use super::behaviour::ErrorResponse;
use super::clock::ms;
use super::request::ParsedRequest;
use super::scenario;
use super::settings::DuplicateCheck;
use super::state::SimulatorState;
use super::transactions::{SimTransaction, TransactionKind};

impl SimulatorState {
    /// Returns the currency of a request and the tracking ID that its transaction will show, or a
    /// refusal.
    pub fn examine(
        &self,
        shop: &Arc<str>,
        order: &ParsedRequest,
    ) -> Result<(String, Option<String>), ErrorResponse> {
        let Some(parent_uid) = &order.parent_uid else {
            return Ok((
                order.currency.clone().unwrap_or_default(),
                order.tracking_id.clone(),
            ));
        };
        if !order.kind.is_child() {
            return Ok((
                order.currency.clone().unwrap_or_default(),
                order.tracking_id.clone(),
            ));
        }
        let parent = self
            .transactions
            .get(parent_uid)
            .filter(|parent| parent.shop == *shop && !parent.hidden)
            .ok_or_else(no_parent)?;
        self.parent_allows(parent, order)?;
        let own = order
            .tracking_id
            .clone()
            .filter(|_| self.switches.children_own_tracking_id);
        Ok((
            parent.currency.clone(),
            own.or_else(|| parent.tracking_id.clone()),
        ))
    }

    fn parent_allows(
        &self,
        parent: &SimTransaction,
        order: &ParsedRequest,
    ) -> Result<(), ErrorResponse> {
        let (right_kind, verb) = match order.kind {
            TransactionKind::Capture => (parent.kind == TransactionKind::Authorization, "captured"),
            TransactionKind::Void => (parent.kind == TransactionKind::Authorization, "voided"),
            TransactionKind::Chargeback => (has_money(parent.kind), "charged back"),
            _ => (has_money(parent.kind), "refunded"),
        };
        if !right_kind || parent.status != "successful" {
            return Err(base(format!("transaction can't be {verb}")));
        }
        let rest = parent.amount - self.claimed(&parent.uid, order.kind);
        if order.amount > rest && self.switches.parent_limits {
            return Err(base(format!("Amount can't be greater than {rest}")));
        }
        Ok(())
    }

    /// Returns the amount of a parent that other children use, as far as it limits this kind.
    fn claimed(&self, parent_uid: &str, kind: TransactionKind) -> i64 {
        let claims = self
            .claims
            .get(parent_uid)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let competes = |other: TransactionKind| match kind {
            TransactionKind::Capture | TransactionKind::Void => {
                matches!(other, TransactionKind::Capture | TransactionKind::Void)
            }
            _ => other == kind,
        };
        let holds = |claim: &&super::state::ParentHold| {
            let mut existing = claim
                .uids
                .iter()
                .filter_map(|uid| self.transactions.get(uid))
                .peekable();
            let lives = |found: &SimTransaction| {
                !matches!(found.status.as_str(), "failed" | "expired" | "error")
            };
            competes(claim.kind) && (existing.peek().is_none() || existing.any(lives))
        };
        claims.iter().filter(holds).map(|claim| claim.amount).sum()
    }

    /// Applies the 30-second rule: refuses a request that equals a recent one, and remembers it.
    pub fn examine_duplicate(
        &mut self,
        shop: &str,
        order: &ParsedRequest,
    ) -> Result<(), ErrorResponse> {
        let looked_at = match self.switches.duplicate_check {
            DuplicateCheck::Off => false,
            DuplicateCheck::Children => order.kind.is_child(),
            DuplicateCheck::All => true,
        };
        let (true, Some(what)) = (looked_at, &order.duplicate_key) else {
            return Ok(());
        };
        let key = format!("{shop} {} {} {what}", order.kind.name(), order.amount);
        let (now, window) = (self.now, ms(self.switches.duplicate_window));
        let fresh = |seen: &u64| now.saturating_sub(*seen) < window;
        if order.duplicate_check && self.recent.get(&key).is_some_and(fresh) {
            let status = self.switches.duplicate_status;
            let earlier = self.switches.duplicate_shows_earlier;
            return Err(ErrorResponse {
                status,
                earlier: earlier.then(|| self.equal_to(shop, order)).flatten(),
                ..scenario::duplicate()
            });
        }
        if self.recent.len() >= 100_000 {
            self.recent.retain(|_, seen| fresh(seen));
        }
        self.recent.insert(key, now);
        Ok(())
    }

    /// Returns the latest transaction that a request equals.
    fn equal_to(&self, shop: &str, order: &ParsedRequest) -> Option<String> {
        let equal = |found: &&SimTransaction| {
            (&*found.shop, found.kind, found.amount) == (shop, order.kind, order.amount)
                && found.parent_uid == order.parent_uid
        };
        let equals = self.transactions.values().filter(equal);
        let latest = equals.max_by_key(|found| (found.appeared, found.uid.clone()))?;
        Some(latest.uid.clone())
    }
}

fn has_money(kind: TransactionKind) -> bool {
    matches!(kind, TransactionKind::Payment | TransactionKind::Capture)
}

fn no_parent() -> ErrorResponse {
    ErrorResponse {
        status: 400,
        code: "E.1025".into(),
        message: "Parent uid Parent transaction is not found.".into(),
        errors: json!({"parent_uid": ["Parent transaction is not found"]}),
        earlier: None,
    }
}

fn base(message: String) -> ErrorResponse {
    let errors = json!({"base": [message]});
    ErrorResponse {
        status: 422,
        code: "E.1025".into(),
        message,
        errors,
        earlier: None,
    }
}
