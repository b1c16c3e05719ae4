//! Table of scenarios: name, description, and change to the script.

use serde_json::json;

use super::behaviour::{Behaviour, CannedResponse, ErrorResponse, ResponseAction};
use super::scenario::{duplicate, page, too_many};
use super::script::{Delay, Script, StatusChange, TaskEnd, TransactionScript, WebhookScript};

/// A row of the table.
pub struct Scenario {
    /// Prefix of the tracking ID that selects the scenario.
    pub name: &'static str,
    /// Description in one sentence.
    pub about: &'static str,
    /// Change to the script.
    pub bend: fn(&mut Script),
}

/// Scenarios about requests and transactions. [`super::odd_answers`] has those about unusual
/// responses.
pub const TABLE: &[Scenario] = &[
    row("ok", "success when the task ends, then a webhook", |_| {}),
    row("decline", "`failed` with F.0105; HTTP 200", |s| {
        first(s).status = "failed".into()
    }),
    row("decline3ds", "`failed` with F.0130 (3-DS)", |s| {
        fail(first(s), "F.0130")
    }),
    row("tempfail", "`failed` with the temporary code F.0117", |s| {
        fail(first(s), "F.0117")
    }),
    row("nohook", "success; the webhook is never sent", |s| {
        s.webhook.send = false
    }),
    row("lost", "alias of `nohook`", |s| s.webhook.send = false),
    row("late", "the webhook is sent one hour later", |s| {
        s.webhook.delay = 3600.0
    }),
    row("double", "the webhook is sent three times", |s| {
        s.webhook.copies = 3
    }),
    row(
        "forged",
        "a webhook with an invalid signature, then a valid one",
        |s| {
            s.webhook.forged_first = true;
        },
    ),
    row(
        "reorder",
        "`incomplete`, then success; the webhook of `incomplete` is sent last",
        |s| {
            then(first(s), "incomplete", 2.0, "successful");
            first(s).notify = true;
            s.webhook = WebhookScript {
                reorder: true,
                ..s.webhook.clone()
            };
        },
    ),
    row(
        "threeds",
        "`incomplete` with `redirect_url`; success 5 s later without customer action",
        |s| {
            then(first(s), "incomplete", 5.0, "successful");
        },
    ),
    row(
        "threedsfail",
        "`incomplete`; `failed` with F.0998 5 s later",
        |s| {
            then(first(s), "incomplete", 5.0, "failed");
            for change in &mut first(s).changes {
                change.code = Some("F.0998".into());
            }
        },
    ),
    row("expire", "`incomplete`; `expired` 5 s later", |s| {
        then(first(s), "incomplete", 5.0, "expired");
    }),
    row("stuck", "`incomplete`, permanently", |s| {
        first(s).status = "incomplete".into()
    }),
    row("pending", "`pending`, permanently", |s| {
        first(s).status = "pending".into()
    }),
    row("statusword", "an undocumented status", |s| {
        first(s).status = "quarantined".into();
        first(s).notify = true;
    }),
    row(
        "correct",
        "`failed`; corrected to success in the back office 5 s later, with a webhook",
        |s| {
            then(first(s), "failed", 5.0, "successful");
            by_hand(first(s));
        },
    ),
    row(
        "uncorrect",
        "success; corrected to `failed` in the back office 5 s later, with a webhook",
        |s| {
            then(first(s), "successful", 5.0, "failed");
            by_hand(first(s));
        },
    ),
    row(
        "mismatch",
        "success with an amount 100 minor units higher",
        |s| first(s).amount_delta = 100,
    ),
    row(
        "currency",
        "success in CHF, whatever the request says",
        |s| {
            first(s).currency = Some("CHF".into());
        },
    ),
    row(
        "twotx",
        "two transactions: one `failed` at once, and the success in the task's result",
        |s| {
            let early = TransactionScript {
                at: Some(0.2),
                status: "failed".into(),
                ..TransactionScript::default()
            };
            s.transactions.push(early);
        },
    ),
    row(
        "twosuccess",
        "two successful transactions with one tracking ID",
        |s| {
            s.transactions.push(TransactionScript::default());
        },
    ),
    row("slow", "the task runs for 30 s", |s| {
        s.task.delay = Some(Delay::Fixed { seconds: 30.0 });
    }),
    row("never", "the task never ends; no transaction exists", |s| {
        s.task.delay = Some(Delay::Never);
    }),
    row(
        "crash",
        "the task crashes (a message, returned once); the transaction is a success",
        |s| {
            s.task.end = TaskEnd::Crash;
        },
    ),
    row(
        "crashnone",
        "the task crashes; no transaction exists",
        |s| {
            s.task.end = TaskEnd::Crash;
            s.transactions.clear();
        },
    ),
    row(
        "once422",
        "the task ends in a 422 that is returned once; no transaction",
        |s| {
            s.task.end = TaskEnd::Refuse(ErrorResponse::default());
            s.transactions.clear();
        },
    ),
    row(
        "unknown",
        "the task is 404 `unknown` from the start; the transaction is a success",
        |s| {
            s.task.end = TaskEnd::Unknown;
        },
    ),
    row(
        "unknownnone",
        "the task is 404 `unknown` from the start; no transaction",
        |s| {
            s.task.end = TaskEnd::Unknown;
            s.transactions.clear();
        },
    ),
    row(
        "garbage",
        "the result is 200 but not JSON; the transaction is a success",
        |s| {
            let body = json!("\u{1f9e8}{\"transaction\":{\"uid\":");
            s.task.end = TaskEnd::Answer(CannedResponse {
                body,
                ..CannedResponse::default()
            });
        },
    ),
    row(
        "html",
        "the first two reads of the result are a proxy's 502 page, the third succeeds",
        |s| {
            s.task.result = Behaviour {
                act: ResponseAction::Answer(page(502)),
                effect: false,
                ..twice()
            };
        },
    ),
    row(
        "trickle",
        "the body of the result arrives in small pieces over 5 s",
        |s| {
            s.task.result.act = ResponseAction::Trickle { seconds: 5.0 };
        },
    ),
    row(
        "cut",
        "the first response with the result is cut off in the middle",
        |s| {
            s.task.result = Behaviour::once(ResponseAction::Cut, true);
        },
    ),
    row("reject", "422 at the POST; nothing exists", |s| {
        s.submit = refuse(ErrorResponse::default());
    }),
    row("refuse401", "401 at the POST; nothing exists", |s| {
        let body = json!({"response": {"status": "error", "message": "Access denied"}});
        let act = ResponseAction::Answer(CannedResponse {
            status: 401,
            body,
            ..CannedResponse::default()
        });
        s.submit = Behaviour {
            act,
            effect: false,
            ..Behaviour::default()
        };
    }),
    row(
        "dup",
        "E.1018 at the POST, although the transaction is created",
        |s| {
            s.submit = Behaviour {
                effect: true,
                ..refuse(duplicate())
            };
        },
    ),
    row("dupnone", "E.1018 at the POST; nothing exists", |s| {
        s.submit = refuse(duplicate())
    }),
    row("hang", "no response to the first POST; success", |s| {
        s.submit = Behaviour::once(ResponseAction::Hang, true);
    }),
    row(
        "hangnone",
        "no response to the first POST; nothing exists",
        |s| {
            s.submit = Behaviour::once(ResponseAction::Hang, false);
        },
    ),
    row(
        "reset",
        "the connection of the first POST is closed; success",
        |s| {
            s.submit = Behaviour::once(ResponseAction::Reset, true);
        },
    ),
    row(
        "resetnone",
        "the connection of the first POST is closed; nothing exists",
        |s| {
            s.submit = Behaviour::once(ResponseAction::Reset, false);
        },
    ),
    row("e500", "500 to the first POST; success", |s| {
        s.submit = failing(500, true)
    }),
    row("e502", "502 to the first POST; success", |s| {
        s.submit = failing(502, true)
    }),
    row("e503", "503 to the first POST; success", |s| {
        s.submit = failing(503, true)
    }),
    row("e500none", "500 to the first POST; nothing exists", |s| {
        s.submit = failing(500, false)
    }),
    row("e502none", "502 to the first POST; nothing exists", |s| {
        s.submit = failing(502, false)
    }),
    row("e503none", "503 to the first POST; nothing exists", |s| {
        s.submit = failing(503, false)
    }),
    row(
        "429",
        "429 with Retry-After to the first POST, the next one is accepted",
        |s| {
            s.submit = Behaviour::once(ResponseAction::Answer(too_many(2)), false);
        },
    ),
    row("v3", "bodies in the flat shape of API version 3", |s| {
        s.v3 = true
    }),
];

/// Returns the scenarios of both tables.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    TABLE.iter().chain(super::odd_answers::TABLE)
}

pub(super) const fn row(
    name: &'static str,
    about: &'static str,
    bend: fn(&mut Script),
) -> Scenario {
    Scenario { name, about, bend }
}

/// Returns the transaction that the scenarios change: the first, which the task's result names.
pub(super) fn first(script: &mut Script) -> &mut TransactionScript {
    if script.transactions.is_empty() {
        script.transactions.push(TransactionScript::default());
    }
    &mut script.transactions[0]
}

fn fail(course: &mut TransactionScript, code: &str) {
    course.status = "failed".into();
    course.code = Some(code.into());
}

fn then(course: &mut TransactionScript, status: &str, after: f64, next: &str) {
    course.status = status.into();
    course.changes = vec![StatusChange {
        after,
        status: next.into(),
        ..StatusChange::default()
    }];
}

fn by_hand(course: &mut TransactionScript) {
    for change in &mut course.changes {
        change.corrected = true;
    }
}

fn twice() -> Behaviour {
    Behaviour {
        times: Some(2),
        ..Behaviour::default()
    }
}

fn refuse(refusal: ErrorResponse) -> Behaviour {
    Behaviour {
        act: ResponseAction::Refuse(refusal),
        effect: false,
        ..Behaviour::default()
    }
}

fn failing(status: u16, effect: bool) -> Behaviour {
    Behaviour::once(ResponseAction::Answer(page(status)), effect)
}
