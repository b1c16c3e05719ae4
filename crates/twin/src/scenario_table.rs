//! The table of scenarios: a name, a sentence, and how it bends a script.

use serde_json::json;

use super::behaviour::{Act, Behaviour, Canned, Refusal};
use super::scenario::{duplicate, page, too_many};
use super::script::{Change, Course, Delay, End, Script, WebhookScript};

/// One row of the table.
pub struct Scenario {
    /// The prefix.
    pub name: &'static str,
    /// What happens, in one sentence.
    pub about: &'static str,
    /// What it changes.
    pub bend: fn(&mut Script),
}

/// How requests and transactions fare. [`super::odd_answers`] has how answers are written.
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
    row("lost", "the same as `nohook`", |s| s.webhook.send = false),
    row("late", "the webhook comes an hour later", |s| {
        s.webhook.delay = 3600.0
    }),
    row("double", "the webhook is sent three times", |s| {
        s.webhook.copies = 3
    }),
    row(
        "forged",
        "a webhook with a wrong signature comes first, then a good one",
        |s| {
            s.webhook.forged_first = true;
        },
    ),
    row(
        "reorder",
        "`incomplete`, then success; the webhook of the first comes last",
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
        "`incomplete` with `redirect_url`; success by itself 5 s later",
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
    row("stuck", "`incomplete`, for ever", |s| {
        first(s).status = "incomplete".into()
    }),
    row("pending", "`pending`, for ever", |s| {
        first(s).status = "pending".into()
    }),
    row("statusword", "a status word that no document names", |s| {
        first(s).status = "quarantined".into();
        first(s).notify = true;
    }),
    row(
        "correct",
        "`failed`; corrected by hand to success 5 s later, with a webhook",
        |s| {
            then(first(s), "failed", 5.0, "successful");
            by_hand(first(s));
        },
    ),
    row(
        "uncorrect",
        "success; corrected by hand to `failed` 5 s later, with a webhook",
        |s| {
            then(first(s), "successful", 5.0, "failed");
            by_hand(first(s));
        },
    ),
    row(
        "mismatch",
        "success with an amount that is 100 greater",
        |s| first(s).amount_delta = 100,
    ),
    row("currency", "success in CHF, whatever was asked for", |s| {
        first(s).currency = Some("CHF".into());
    }),
    row(
        "twotx",
        "two transactions: one `failed` at once, and the task's own success",
        |s| {
            let early = Course {
                at: Some(0.2),
                status: "failed".into(),
                ..Course::default()
            };
            s.transactions.push(early);
        },
    ),
    row(
        "twosuccess",
        "two successful transactions under one tracking id",
        |s| {
            s.transactions.push(Course::default());
        },
    ),
    row("slow", "the task runs for 30 s", |s| {
        s.task.delay = Some(Delay::Fixed { seconds: 30.0 });
    }),
    row(
        "never",
        "the task never ends, and nothing comes of it",
        |s| {
            s.task.delay = Some(Delay::Never);
        },
    ),
    row(
        "crash",
        "the task crashes (a message, read once); the transaction is a success",
        |s| {
            s.task.end = End::Crash;
        },
    ),
    row(
        "crashnone",
        "the task crashes; no transaction exists",
        |s| {
            s.task.end = End::Crash;
            s.transactions.clear();
        },
    ),
    row(
        "once422",
        "the task ends in a 422 that can be read once; no transaction",
        |s| {
            s.task.end = End::Refuse(Refusal::default());
            s.transactions.clear();
        },
    ),
    row(
        "unknown",
        "the task is 404 `unknown` from the start; the transaction is a success",
        |s| {
            s.task.end = End::Unknown;
        },
    ),
    row(
        "unknownnone",
        "the task is 404 `unknown` from the start; no transaction",
        |s| {
            s.task.end = End::Unknown;
            s.transactions.clear();
        },
    ),
    row(
        "garbage",
        "the result is 200 and no JSON; the transaction is a success",
        |s| {
            let body = json!("\u{1f9e8}{\"transaction\":{\"uid\":");
            s.task.end = End::Answer(Canned {
                body,
                ..Canned::default()
            });
        },
    ),
    row(
        "html",
        "two reads of the result meet a proxy's 502 page, the third is good",
        |s| {
            s.task.result = Behaviour {
                act: Act::Answer(page(502)),
                effect: false,
                ..twice()
            };
        },
    ),
    row(
        "trickle",
        "the body of the result comes in drops, over 5 s",
        |s| {
            s.task.result.act = Act::Trickle { seconds: 5.0 };
        },
    ),
    row(
        "cut",
        "the first answer with the result is cut in the middle",
        |s| {
            s.task.result = Behaviour::once(Act::Cut, true);
        },
    ),
    row("reject", "422 at the POST; nothing exists", |s| {
        s.submit = refuse(Refusal::default());
    }),
    row("refuse401", "401 at the POST; nothing exists", |s| {
        let body = json!({"response": {"status": "error", "message": "Access denied"}});
        let act = Act::Answer(Canned {
            status: 401,
            body,
            ..Canned::default()
        });
        s.submit = Behaviour {
            act,
            effect: false,
            ..Behaviour::default()
        };
    }),
    row(
        "dup",
        "E.1018 at the POST, although the transaction comes to be",
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
    row("hang", "the first POST is never answered; success", |s| {
        s.submit = Behaviour::once(Act::Hang, true);
    }),
    row(
        "hangnone",
        "the first POST is never answered; nothing exists",
        |s| {
            s.submit = Behaviour::once(Act::Hang, false);
        },
    ),
    row(
        "reset",
        "the connection of the first POST is cut; success",
        |s| {
            s.submit = Behaviour::once(Act::Reset, true);
        },
    ),
    row(
        "resetnone",
        "the connection of the first POST is cut; nothing exists",
        |s| {
            s.submit = Behaviour::once(Act::Reset, false);
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
        "429 with Retry-After to the first POST, the next one is taken",
        |s| {
            s.submit = Behaviour::once(Act::Answer(too_many(2)), false);
        },
    ),
    row("v3", "bodies in the flat shape of API version 3", |s| {
        s.v3 = true
    }),
];

/// The scenarios of both tables.
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

/// The transaction that the scenarios bend; the first one is the task's own.
pub(super) fn first(script: &mut Script) -> &mut Course {
    if script.transactions.is_empty() {
        script.transactions.push(Course::default());
    }
    &mut script.transactions[0]
}

fn fail(course: &mut Course, code: &str) {
    course.status = "failed".into();
    course.code = Some(code.into());
}

fn then(course: &mut Course, status: &str, after: f64, next: &str) {
    course.status = status.into();
    course.changes = vec![Change {
        after,
        status: next.into(),
        ..Change::default()
    }];
}

fn by_hand(course: &mut Course) {
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

fn refuse(refusal: Refusal) -> Behaviour {
    Behaviour {
        act: Act::Refuse(refusal),
        effect: false,
        ..Behaviour::default()
    }
}

fn failing(status: u16, effect: bool) -> Behaviour {
    Behaviour::once(Act::Answer(page(status)), effect)
}
