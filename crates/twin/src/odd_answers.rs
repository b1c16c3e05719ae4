//! Scenarios with unusual responses: the transaction is that of `ok`, or does not exist, and the
//! responses are hard to read, misleading, or about something else.

use serde_json::json;

use super::behaviour::{Behaviour, CannedResponse, ErrorResponse, ResponseAction};
use super::form::{AmountForm, BytesForm, NameForm, TestForm, TimesForm};
use super::scenario::{page, too_many};
use super::scenario_table::{Scenario, row};
use super::script::{SignatureMode, TaskEnd};

/// All scenarios with unusual responses.
pub const TABLE: &[Scenario] = &[
    row("bom", "success; bodies begin with a byte order mark", |s| {
        s.form.bytes = BytesForm::Bom;
    }),
    row(
        "badbyte",
        "success; a text in the bodies is not UTF-8",
        |s| {
            s.form.bytes = BytesForm::BadByte;
        },
    ),
    row(
        "surrogate",
        "success; a text in the bodies ends in half a surrogate pair",
        |s| {
            s.form.bytes = BytesForm::HalfSurrogate;
        },
    ),
    row(
        "cp1251",
        "success; a text in the bodies is in Windows-1251",
        |s| {
            s.form.bytes = BytesForm::Cp1251;
        },
    ),
    row("utf16", "success; bodies are in UTF-16", |s| {
        s.form.bytes = BytesForm::Utf16;
    }),
    row(
        "gzip",
        "success; bodies, webhooks too, are compressed",
        |s| {
            s.form.bytes = BytesForm::Gzip;
        },
    ),
    row(
        "twice",
        "success; bodies contain the status twice, first as `pending`",
        |s| {
            s.form.bytes = BytesForm::DuplicateKey;
        },
    ),
    row(
        "textamount",
        "success; the amount is a text of digits",
        |s| {
            s.form.amount = AmountForm::Text;
        },
    ),
    row(
        "decimal",
        "success; the amount is a text of minor units that ends in `.00`",
        |s| {
            s.form.amount = AmountForm::Decimal;
        },
    ),
    row(
        "major",
        "success; the amount is a text in major units",
        |s| {
            s.form.amount = AmountForm::Major;
        },
    ),
    row(
        "fraction",
        "success; the amount has a fraction of a minor unit",
        |s| {
            s.form.amount = AmountForm::Fraction;
        },
    ),
    row("noamount", "success; bodies have no amount", |s| {
        s.form.amount = AmountForm::Absent;
    }),
    row(
        "othermode",
        "success; bodies have the opposite `test` flag",
        |s| {
            s.form.test = TestForm::Inverted;
        },
    ),
    row("nomode", "success; bodies have no `test` flag", |s| {
        s.form.test = TestForm::Absent;
    }),
    row("notimes", "success; bodies have no times", |s| {
        s.form.times = TimesForm::Absent;
    }),
    row(
        "nozone",
        "success; the times in bodies have no time zone",
        |s| {
            s.form.times = TimesForm::NoZone;
        },
    ),
    row("renamed", "success; bodies show another tracking ID", |s| {
        s.form.tracking_id = NameForm::Foreign;
    }),
    row(
        "othercase",
        "success; bodies show the tracking ID in the opposite letter case",
        |s| {
            s.form.tracking_id = NameForm::OtherCase;
        },
    ),
    row(
        "shortname",
        "success; bodies show the first 20 characters of the tracking ID",
        |s| {
            s.form.tracking_id = NameForm::Cut;
        },
    ),
    row("noname", "success; bodies show no tracking ID", |s| {
        s.form.tracking_id = NameForm::Absent;
    }),
    row(
        "acquirer",
        "success; version 3, and the acquirer's section has a `uid` of its own",
        |s| {
            s.v3 = true;
            s.form.acquirer_uid = true;
        },
    ),
    row(
        "cutafter",
        "success; the first response with the result ends after its last bracket, before its announced length",
        |s| {
            s.task.result = Behaviour::once(ResponseAction::CutAfter, true);
        },
    ),
    row(
        "ackcut",
        "success; the response to the first POST ends after its last bracket, before its announced length",
        |s| {
            s.submit = Behaviour::once(ResponseAction::CutAfter, true);
        },
    ),
    row(
        "notfound",
        "success; reads of the result are 404 `Record not found`",
        |s| {
            let body = json!({"response": {"message": "Record not found", "errors": {"uid": ["is not found"]}}});
            s.task.result = reads(404, body);
        },
    ),
    row(
        "badrequest",
        "success; reads of the result are 400 with E.1023",
        |s| {
            s.task.result = reads(400, json!({"code": "E.1023", "message": "Bad request"}));
        },
    ),
    row(
        "login",
        "success; reads of the result are redirected",
        |s| {
            s.task.result = Behaviour {
                act: ResponseAction::Answer(page(302)),
                effect: false,
                ..Behaviour::default()
            };
        },
    ),
    row("empty", "success; reads of the result are `{}`", |s| {
        s.task.result = reads(200, json!({}));
    }),
    row(
        "timeout422",
        "the task ends in a 422 that reports a timeout of the acquirer; success",
        |s| {
            let text = "The acquirer did not answer in time, the result is not known";
            let body = json!({"message": "Acquirer timeout", "errors": {"base": [text]}});
            s.task.end = TaskEnd::Answer(CannedResponse {
                status: 422,
                body,
                ..CannedResponse::default()
            });
        },
    ),
    row(
        "notunique",
        "422 \"is not unique\" at the POST; success",
        |s| {
            s.submit = Behaviour {
                act: ResponseAction::Refuse(ErrorResponse {
                    code: "E.1025".into(),
                    message: "Base is not unique".into(),
                    errors: json!({"base": ["is not unique"]}),
                    ..ErrorResponse::default()
                }),
                ..Behaviour::default()
            };
        },
    ),
    row(
        "open429",
        "429 with E.1035 to the first POST; success",
        |s| {
            let body = json!({"code": "E.1035", "message": "The acquirer answered with an error"});
            let act = ResponseAction::Answer(CannedResponse {
                body,
                ..too_many(1)
            });
            s.submit = Behaviour::once(act, true);
        },
    ),
    row(
        "retry0",
        "429 with `Retry-After: 0` to every POST; nothing exists",
        |s| {
            s.submit = Behaviour {
                act: ResponseAction::Answer(too_many(0)),
                effect: false,
                ..Behaviour::default()
            };
        },
    ),
    row(
        "retryday",
        "success; the first read of the result is 503 with a `Retry-After` of one day",
        |s| {
            let act = ResponseAction::Answer(CannedResponse {
                headers: too_many(86_400).headers,
                ..page(503)
            });
            s.task.result = Behaviour::once(act, false);
        },
    ),
    row("unsigned", "success; the webhook is not signed", |s| {
        s.webhook.signature = SignatureMode::Missing;
    }),
];

/// Returns a behaviour that answers every read with this response.
fn reads(status: u16, body: serde_json::Value) -> Behaviour {
    Behaviour {
        act: ResponseAction::Answer(CannedResponse {
            status,
            body,
            ..CannedResponse::default()
        }),
        effect: false,
        ..Behaviour::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::named;

    #[test]
    fn response_scenarios_can_be_joined_with_others() {
        let script = named("decline.bom.decimal").unwrap_or_default();
        assert_eq!(script.transactions[0].status, "failed");
        assert_ne!(script.form, super::super::form::Form::default());
    }
}
