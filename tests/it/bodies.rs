//! The danger: a body that is damaged, coded, cut off or odd, and is lost, or believed for what it is not.

use crate::world::{
    FakeGateway, FakeReply, Request, SECRET, SHOP, Setup, World, ack, eventually, transaction,
    wrapped,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Write;
use twin::{Signer, SigningKey};

/// A gateway that takes each submit as a task `t-{name}`, and answers a read of it by `result`.
fn taking(result: impl Fn(&str) -> FakeReply + Send + Sync + 'static) -> FakeGateway {
    FakeGateway::start(move |request: Request| {
        let reply = if request.is_submit() {
            let name = request.json()["request"]["tracking_id"].clone();
            let task = format!("t-{}", name.as_str().unwrap_or_default());
            FakeReply::Json(200, ack("http://127.0.0.1:1", &task))
        } else if let Some(name) = request.path.strip_prefix("/async/result/t-") {
            result(name)
        } else {
            FakeReply::Json(503, json!({"message": "away"}))
        };
        async move { reply }
    })
}

fn running() -> FakeReply {
    FakeReply::Json(425, json!({"status": "processing", "request_id": "t"}))
}

/// Posts a webhook that is signed over these bytes.
async fn send(world: &World, body: &[u8], more: &[(&str, &str)]) -> u16 {
    let basic = STANDARD.encode(format!("{SHOP}:{SECRET}"));
    let signer = Signer::new().unwrap();
    let signature = signer.sign(SigningKey::Default, body).unwrap();
    let basic = format!("Basic {basic}");
    let mut headers = vec![
        ("authorization", basic.as_str()),
        ("content-signature", signature.as_str()),
    ];
    headers.extend_from_slice(more);
    let url = world.hook_url();
    world.hook(&url, &headers, body).await.status
}

fn success(name: &str) -> Value {
    let mut told = transaction(&format!("u-{name}"), name, "successful");
    told["description"] = "MARK".into();
    told["credit_card"] = json!({"holder": "JANE ROE", "brand": "visa"});
    wrapped(&told)
}

fn with_mark(name: &str, mark: &[u8]) -> Vec<u8> {
    let text = success(name).to_string();
    let at = text.find("MARK").unwrap();
    [&text.as_bytes()[..at], mark, &text.as_bytes()[at + 4..]].concat()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(body).unwrap();
    packed.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    packed.write_all(body).unwrap();
    packed.finish().unwrap()
}

#[test]
fn a_signed_success_counts_in_every_encoding() {
    let gateway = taking(|_| running());
    Setup::default().gateway(&gateway).run(async |world| {
        let utf16 = |name: &str| -> Vec<u8> {
            let text = success(name).to_string();
            text.encode_utf16().flat_map(u16::to_le_bytes).collect()
        };
        let marked = |name: &str| [b"\xFF\xFE".to_vec(), utf16(name)].concat();
        let plain = |name: &str| success(name).to_string().into_bytes();
        let deep = format!("{}{}", "[".repeat(150), "]".repeat(150));
        let deep = plain("deep").strip_suffix(b"}").map_or_else(Vec::new, |front| {
            [front, format!(",\"x\":{deep}}}").as_bytes()].concat()
        });
        let cases: [(&str, Vec<u8>, &str); 11] = [
            ("deep", deep, ""),
            ("stray", [plain("stray"), b"}".to_vec()].concat(), ""),
            ("byte", with_mark("byte", b"\xff"), ""),
            ("emoji", with_mark("emoji", b"\\ud83d"), ""),
            ("cp1251", with_mark("cp1251", b"\xd1\xee\xeb\xfc"), ""),
            ("raw", with_mark("raw", b"a\x01\nb"), ""),
            ("bom", [b"\xEF\xBB\xBF".to_vec(), plain("bom")].concat(), ""),
            ("utf16", utf16("utf16"), ""),
            ("marked", marked("marked"), ""),
            ("gzip", gzip(&plain("gzip")), "gzip"),
            ("deflate", zlib(&with_mark("deflate", b"\xff")), "deflate"),
        ];
        for (name, body, coding) in cases {
            world.pay(name).await.expect(202);
            let coded = [("content-encoding", coding)];
            let more = if coding.is_empty() { &[][..] } else { &coded };
            assert_eq!(send(world, &body, more).await, 200, "{name}");
            let done = world.status(name).await;
            assert_eq!(done["state"], "successful", "{name} {done}");
            let told = world.evidence_by(name, "webhook").await;
            let kept = told[0]["body"].as_str().unwrap();
            assert!(kept.contains("u-") && !kept.contains("JANE"), "{kept}");
            let sha256: Vec<u8> = world
                .database
                .one("SELECT body_sha256 FROM evidence WHERE channel = 'webhook' ORDER BY id DESC, received_at DESC LIMIT 1")
                .await;
            let all: Vec<Vec<u8>> = world
                .database
                .all("SELECT body_sha256 FROM evidence WHERE channel = 'webhook'")
                .await;
            assert!(all.contains(&Sha256::digest(&body).to_vec()), "{name} {sha256:?}");
        }
    });
}

#[test]
fn the_uid_of_an_unreadable_webhook_is_looked_up() {
    let gateway = taking(|_| running());
    Setup::default().gateway(&gateway).run(async |world| {
        let whole = success("torn").to_string();
        let torn = whole.replace("\"description\":\"MARK\"", "\"description\":MARK");
        assert_eq!(send(world, torn.as_bytes(), &[]).await, 200);
        world.until_found("unknown_body").await;
        let hinted = "SELECT uid FROM hinted_uids";
        assert_eq!(world.database.all::<String>(hinted).await, ["u-torn"]);
    });
}

#[test]
fn an_undecodable_webhook_is_rejected() {
    let gateway = taking(|_| running());
    Setup::default().gateway(&gateway).run(async |world| {
        world.pay("coded").await.expect(202);
        let plain = success("coded").to_string().into_bytes();
        let packed = gzip(&plain);
        for (coding, body) in [
            ("br", &packed),
            ("zstd", &packed),
            ("gzip, gzip", &gzip(&packed)),
            ("gzip", &plain),
            ("gzip", &packed[..packed.len() - 9].to_vec()),
            ("deflate", &packed),
        ] {
            let status = send(world, body, &[("content-encoding", coding)]).await;
            assert_eq!(status, 415, "{coding}");
        }
        let bomb = gzip(&b" ".repeat(300 * 1024));
        let status = send(world, &bomb, &[("content-encoding", "gzip")]).await;
        assert_eq!(status, 413);
        assert_eq!(world.state("coded").await, "processing");
        let kept: i64 = world.database.one("SELECT count(*) FROM orphans").await;
        assert_eq!(kept, 0);
        // Whoever cannot sign is told nothing of codings.
        let headers = [("content-encoding", "br")];
        let url = world.hook_url();
        assert_eq!(world.hook(&url, &headers, &packed).await.status, 401);
    });
}

#[test]
fn a_version_three_body_counts_by_its_outer_uid() {
    let gateway = taking(|name| {
        let mut told = transaction("outer", name, "successful");
        told["transaction"] = json!({"uid": "ACQ-778899", "status": "successful", "amount": 1});
        FakeReply::Json(200, told)
    });
    Setup::default().gateway(&gateway).run(async |world| {
        world.pay("three").await.expect(202);
        let done = world.until_final("three").await;
        assert_eq!(
            (&done["state"], &done["uid"]),
            (&json!("successful"), &json!("outer"))
        );
    });
}

#[test]
fn an_amount_counts_when_it_is_a_whole_number_of_minor_units() {
    let gateway = taking(|name| {
        let mut told = transaction(&format!("u-{name}"), name, "successful");
        match name {
            "whole" => told["amount"] = "3245.00".into(),
            "point" => told["amount"] = "32.00".into(),
            "broken" => told["amount"] = json!(3245.4),
            "currency" => told["currency"] = "??".into(),
            _ => told["type"] = json!({}),
        }
        FakeReply::Json(200, wrapped(&told))
    });
    Setup::default().gateway(&gateway).run(async |world| {
        world.pay("whole").await.expect(202);
        assert_eq!(world.until_final("whole").await["state"], "successful");
        for (name, told) in [
            ("point", "32.00"),
            ("broken", "3245.4"),
            ("currency", "??"),
            ("type", "type (an object)"),
        ] {
            world.pay(name).await.expect(202);
            world.until_state(name, "pending").await;
            let found = eventually("a finding", async || {
                let all = world.discrepancies().await;
                all.into_iter()
                    .find(|d| d["tracking_id"] == name && d["kind"] == "unknown_body")
            })
            .await;
            let detail = found["detail"].as_str().unwrap();
            assert!(detail.contains(told), "{name} {detail}");
        }
    });
}

#[test]
fn a_foreign_error_concerns_the_task_read_only() {
    let gateway = taking(|name| {
        let missing = json!({"response": {"message": "Record not found",
            "errors": {"base": ["Record not found"]}}});
        match name {
            "gone" => FakeReply::Json(404, missing),
            "method" => FakeReply::Json(405, json!({"errors": {"amount": ["x"]}})),
            "proxy" => FakeReply::Json(400, json!({"message": "Bad Request"})),
            "code" => FakeReply::Json(400, json!({"code": "E.1023", "message": "Bad request"})),
            "crash" => FakeReply::Json(500, json!({"message": "something went wrong"})),
            _ => {
                let texts = ["The acquirer did not answer in time, the result is not known"];
                FakeReply::Json(
                    422,
                    json!({"message": "Acquirer timeout", "errors": {"base": texts}}),
                )
            }
        }
    });
    Setup::default().gateway(&gateway).run(async |world| {
        for name in ["gone", "method", "proxy", "code", "crash"] {
            world.pay(name).await.expect(202);
            let read = eventually("a read", async || {
                world.evidence_by(name, "task_result").await.pop()
            })
            .await;
            assert_eq!(read["verdict"], "refused", "{name} {read}");
            assert_eq!(world.state(name).await, "processing", "{name}");
        }
        world.pay("timeout").await.expect(202);
        world.until_state("timeout", "in_doubt").await;
    });
}

/// An answer that breaks off: it promises more than it sends.
fn cut(status: u16, body: &str) -> FakeReply {
    let length = body.len() + 7;
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    FakeReply::Raw([head.as_bytes(), body.as_bytes()].concat())
}

#[test]
fn a_truncated_response_is_recorded_as_evidence() {
    let gateway = FakeGateway::start(|request: Request| async move {
        let name = request.json()["request"]["tracking_id"].clone();
        let task = format!("t-{}", name.as_str().unwrap_or_default());
        let acknowledged = ack("http://127.0.0.1:1", &task).to_string();
        match (request.is_submit(), name.as_str(), request.path.as_str()) {
            (true, Some("half"), _) => cut(200, "{\"status\":\"process"),
            (true, Some("busy"), _) => cut(429, "{\"code\":\"E.10"),
            (true, _, _) => cut(200, &acknowledged),
            (false, _, "/async/result/t-once") => cut(
                422,
                r#"{"code":"E.1025","message":"the only time that it is said"}"#,
            ),
            (false, _, "/async/result/t-lost") => cut(422, r#"{"code":"E.1025","mess"#),
            (false, _, "/async/result/t-whole") => running(),
            _ => FakeReply::Json(503, json!({})),
        }
    });
    Setup::default().gateway(&gateway).run(async |world| {
        let asked = world.pay("whole").await.expect(202);
        assert_eq!(asked.json["state"], "processing", "{}", asked.text);
        for (name, status, kept) in [
            ("half", 200, "{\"status\":\"process"),
            ("busy", 429, "{\"code\":\"E.10"),
        ] {
            let asked = world.pay(name).await.expect(202);
            assert_eq!(asked.json["state"], "in_doubt", "{}", asked.text);
            let told = world.evidence_by(name, "ack").await;
            assert_eq!(told[0]["http_status"], status);
            assert_eq!(told[0]["body"], kept);
        }
        for (name, verdict) in [("once", "applied"), ("lost", "refused")] {
            world.pay(name).await.expect(202);
            let read = eventually("the read", async || {
                world
                    .evidence_by(name, "task_result")
                    .await
                    .into_iter()
                    .next()
            })
            .await;
            assert_eq!(
                (&read["http_status"], &read["verdict"]),
                (&json!(422), &json!(verdict))
            );
            assert!(read["body"].as_str().unwrap().contains("E.1025"), "{read}");
        }
    });
}

#[test]
fn an_address_is_handed_on_whole_or_not_at_all() {
    let long = format!(
        "https://acs.example/?orderid=4111111111111111&x={}",
        "a".repeat(1500)
    );
    let told = long.clone();
    let gateway = taking(move |name| {
        let mut told_of = transaction(&format!("u-{name}"), name, "incomplete");
        told_of["redirect_url"] = match name {
            "long" => told.clone().into(),
            _ => "x".repeat(8193).into(),
        };
        FakeReply::Json(200, wrapped(&told_of))
    });
    Setup::default().gateway(&gateway).run(async |world| {
        for (name, expected) in [("long", json!(long)), ("longer", Value::Null)] {
            world.pay(name).await.expect(202);
            let pending = world.until_state(name, "pending").await;
            assert_eq!(pending["redirect_url"], expected, "{name}");
        }
    });
}
