//! What the demo asks for, and what the twin makes of it.
//!
//! The part of a tracking id before its first `-` names the twin's scenario; names that are
//! none of its scenarios mean a plain success.

use std::time::Duration;

use serde_json::{Value, json};

const CURRENCY: &str = "EUR";
/// The documented test card. Its number must reach the gateway and no disk.
pub(super) const CARD: &str = "4200000000000000";

/// One transaction of the demo.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    /// Its tracking id.
    pub(super) name: &'static str,
    /// Its kind, as the service names it.
    pub(super) kind: &'static str,
    /// What the twin does, in plain words.
    pub(super) about: &'static str,
    /// Minor units.
    pub(super) amount: i64,
    /// The scene whose transaction it captures, voids or refunds.
    pub(super) parent: Option<&'static str>,
    /// When it is sent, in tenths of a second from the beginning.
    pub(super) at: u64,
    /// The state in which it comes to rest.
    pub(super) end: &'static str,
}

impl Scene {
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

    /// When it is sent, counted from the beginning.
    pub(super) const fn delay(&self) -> Duration {
        Duration::from_millis(self.at * 100)
    }

    /// The last part of the path that it is posted to.
    pub(super) fn collection(&self) -> String {
        format!("{}s", self.kind)
    }

    /// The request.
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
            "payment" if self.name == PAID => request["credit_card"] = card,
            _ => {}
        }
        request
    }
}

/// The payment with a card that is refunded in part, and looked at closely in the end.
pub(super) const PAID: &str = "ok-1";

/// All scenes, in the order in which they are shown.
pub(super) const SCENES: [Scene; 22] = [
    Scene::payment(PAID, "paid; a webhook tells", 3_245, "successful"),
    Scene::payment("decline-2", "declined by the bank", 1_990, "failed").at(2),
    Scene::payment("lost-3", "paid; the webhook is lost", 4_500, "successful").at(4),
    Scene::payment(
        "threeds-4",
        "asks for 3-D Secure; done 5 s later",
        12_000,
        "successful",
    )
    .at(6),
    Scene::payment(
        "crash.lost-5",
        "paid, but the task crashes; no webhook",
        7_700,
        "successful",
    )
    .at(8),
    Scene::payment(
        "once422-6",
        "refused by the task: a 422, told once",
        5_150,
        "rejected",
    )
    .at(10),
    Scene::payment(
        "429-7",
        "too busy (429); takes the second POST",
        6_400,
        "successful",
    )
    .at(20),
    Scene::payment(
        "forged-8",
        "paid; a forged webhook comes first",
        2_050,
        "successful",
    )
    .at(22),
    Scene::payment(
        "hang.lost-9",
        "paid, but the POST is never answered",
        9_900,
        "successful",
    )
    .at(14),
    Scene::payment(
        "crashnone-10",
        "the task crashes; nothing was made",
        8_200,
        "not_found",
    )
    .at(12),
    Scene::payment(
        "unknown.lost-11",
        "paid, but the task is 404 at once",
        3_300,
        "successful",
    )
    .at(16),
    Scene::payment(
        "twotx-12",
        "makes two: one failed, one paid",
        4_100,
        "successful",
    )
    .at(18),
    Scene::payment(
        "mismatch-13",
        "takes 1.00 more than was asked",
        1_500,
        "pending",
    )
    .at(24),
    Scene::payment(
        "correct-14",
        "declined; corrected by hand 5 s later",
        2_700,
        "successful",
    )
    .at(26),
    Scene::of_kind(HELD, "authorization", "authorization: money is held").at(28),
    Scene::child(
        "capture-16",
        "capture",
        "capture of a part of hold-15",
        1_600,
        HELD,
    )
    .at(30),
    Scene::of_kind(GIVEN_UP, "authorization", "authorization: money is held").at(32),
    Scene::child("void-18", "void", "void of hold-17", 2_400, GIVEN_UP).at(34),
    Scene::child(
        "refund-19",
        "refund",
        "refund of a part of ok-1",
        1_245,
        PAID,
    )
    .at(36),
    Scene::of_kind(
        "token-20",
        "tokenization",
        "tokenization: a card becomes a token",
    )
    .at(38),
    Scene::of_kind("payout-21", "payout", "payout to a card").at(40),
    Scene::of_kind("checkup-22", "checkup", "checkup: risk rules alone").at(42),
];

const HELD: &str = "hold-15";
const GIVEN_UP: &str = "hold-17";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_their_children() {
        for (index, scene) in SCENES.iter().enumerate() {
            let Some(parent) = scene.parent else { continue };
            let found = SCENES[..index].iter().find(|it| it.name == parent);
            assert!(found.is_some_and(|it| it.end == "successful"), "{parent}");
        }
    }

    #[test]
    fn every_tracking_id_ends_in_its_number() {
        for (index, scene) in SCENES.iter().enumerate() {
            let number = format!("-{}", index + 1);
            assert!(scene.name.ends_with(&number), "{}", scene.name);
        }
    }
}
