//! Scenarios of the demo: requests and what the simulator does with them.
//!
//! The part of a tracking ID before its first `-` names the simulator's scenario. Other names mean
//! a plain success.

use std::time::Duration;

use serde_json::{Value, json};

const CURRENCY: &str = "EUR";
/// Number of the documented test card. It must reach the gateway and must not be stored.
pub(super) const CARD: &str = "4200000000000000";

/// A transaction of the demo.
#[derive(Clone, Copy, Debug)]
pub(super) struct DemoScenario {
    /// Tracking ID.
    pub(super) name: &'static str,
    /// Transaction type, as the API names it.
    pub(super) kind: &'static str,
    /// What the simulator does, in plain words.
    pub(super) about: &'static str,
    /// Amount in minor units.
    pub(super) amount: i64,
    /// Tracking ID of the transaction that it captures, voids or refunds.
    pub(super) parent: Option<&'static str>,
    /// Time of the request, in tenths of a second after the start.
    pub(super) at: u64,
    /// Expected state at the end.
    pub(super) end: &'static str,
}

impl DemoScenario {
    const fn payment(
        name: &'static str,
        about: &'static str,
        amount: i64,
        end: &'static str,
    ) -> Self {
        Self {
            name,
            kind: "payment",
            about,
            amount,
            parent: None,
            at: 0,
            end,
        }
    }

    const fn of_kind(name: &'static str, kind: &'static str, about: &'static str) -> Self {
        Self {
            kind,
            ..Self::payment(name, about, 2_400, "successful")
        }
    }

    const fn child(
        name: &'static str,
        kind: &'static str,
        about: &'static str,
        amount: i64,
        parent: &'static str,
    ) -> Self {
        Self {
            parent: Some(parent),
            amount,
            ..Self::of_kind(name, kind, about)
        }
    }

    const fn at(self, at: u64) -> Self {
        Self { at, ..self }
    }

    /// Returns the time of the request after the start.
    pub(super) const fn delay(&self) -> Duration {
        Duration::from_millis(self.at * 100)
    }

    /// Returns the last segment of the path that it is posted to.
    pub(super) fn collection(&self) -> String {
        format!("{}s", self.kind)
    }

    /// Returns the request body.
    pub(super) fn request(&self, tracking_id: &str, parent_uid: Option<&str>) -> Value {
        if let Some(parent_uid) = parent_uid {
            return json!({
                "tracking_id": tracking_id,
                "parent_uid": parent_uid,
                "amount": self.amount,
                "reason": "demo",
            });
        }
        let mut request = json!({
            "tracking_id": tracking_id,
            "amount": self.amount,
            "currency": CURRENCY,
            "description": format!("demo: {}", self.about),
            "test": true,
        });
        let card = json!({
            "number": CARD,
            "verification_value": "123",
            "holder": "Demo Payer",
            "exp_month": "11",
            "exp_year": "2031",
        });
        match self.kind {
            "payout" => request["recipient_credit_card"] = json!({"number": CARD}),
            "tokenization" | "checkup" => request["credit_card"] = card,
            "payment" if self.name == PAID_TRACKING_ID => request["credit_card"] = card,
            _ => {}
        }
        request
    }
}

/// Tracking ID of the payment with a card that is refunded in part and queried at the end.
pub(super) const PAID_TRACKING_ID: &str = "ok-1";

/// All scenarios, in display order.
pub(super) const SCENARIOS: [DemoScenario; 22] = [
    DemoScenario::payment(
        PAID_TRACKING_ID,
        "paid; reported by webhook",
        3_245,
        "successful",
    ),
    DemoScenario::payment("decline-2", "declined by the bank", 1_990, "failed").at(2),
    DemoScenario::payment("lost-3", "paid; the webhook is lost", 4_500, "successful").at(4),
    DemoScenario::payment(
        "threeds-4",
        "asks for 3-D Secure; done 5 s later",
        12_000,
        "successful",
    )
    .at(6),
    DemoScenario::payment(
        "crash.lost-5",
        "paid, but the task crashes; no webhook",
        7_700,
        "successful",
    )
    .at(8),
    DemoScenario::payment(
        "once422-6",
        "refused by the task: 422, returned once",
        5_150,
        "rejected",
    )
    .at(10),
    DemoScenario::payment(
        "429-7",
        "429 first; accepts the second POST",
        6_400,
        "successful",
    )
    .at(20),
    DemoScenario::payment(
        "forged-8",
        "paid; a forged webhook arrives first",
        2_050,
        "successful",
    )
    .at(22),
    DemoScenario::payment(
        "hang.lost-9",
        "paid, but no response to the POST",
        9_900,
        "successful",
    )
    .at(14),
    DemoScenario::payment(
        "crashnone-10",
        "task crashes; no transaction",
        8_200,
        "not_found",
    )
    .at(12),
    DemoScenario::payment(
        "unknown.lost-11",
        "paid, but the task is 404 at once",
        3_300,
        "successful",
    )
    .at(16),
    DemoScenario::payment(
        "twotx-12",
        "creates two: one failed, one paid",
        4_100,
        "successful",
    )
    .at(18),
    DemoScenario::payment(
        "mismatch-13",
        "charges 1.00 more than requested",
        1_500,
        "pending",
    )
    .at(24),
    DemoScenario::payment(
        "correct-14",
        "declined; corrected 5 s later",
        2_700,
        "successful",
    )
    .at(26),
    DemoScenario::of_kind(HELD, "authorization", "authorization: holds money").at(28),
    DemoScenario::child(
        "capture-16",
        "capture",
        "partial capture of hold-15",
        1_600,
        HELD,
    )
    .at(30),
    DemoScenario::of_kind(GIVEN_UP, "authorization", "authorization: holds money").at(32),
    DemoScenario::child("void-18", "void", "void of hold-17", 2_400, GIVEN_UP).at(34),
    DemoScenario::child(
        "refund-19",
        "refund",
        "partial refund of ok-1",
        1_245,
        PAID_TRACKING_ID,
    )
    .at(36),
    DemoScenario::of_kind("token-20", "tokenization", "tokenization: card to token").at(38),
    DemoScenario::of_kind("payout-21", "payout", "payout to a card").at(40),
    DemoScenario::of_kind("checkup-22", "checkup", "checkup: risk rules only").at(42),
];

const HELD: &str = "hold-15";
const GIVEN_UP: &str = "hold-17";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_precede_their_children() {
        for (index, scene) in SCENARIOS.iter().enumerate() {
            let Some(parent) = scene.parent else { continue };
            let found = SCENARIOS[..index].iter().find(|it| it.name == parent);
            assert!(found.is_some_and(|it| it.end == "successful"), "{parent}");
        }
    }

    #[test]
    fn every_tracking_id_has_its_number_as_suffix() {
        for (index, scene) in SCENARIOS.iter().enumerate() {
            let number = format!("-{}", index + 1);
            assert!(scene.name.ends_with(&number), "{}", scene.name);
        }
    }
}
