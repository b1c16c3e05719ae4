//! What really goes over the wire, seen by a server that is nothing but a socket.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use super::super::response::MAX_RESPONSE_BYTES;
use super::raw_server::{ReceivedRequest, ServerAction, plain};
use super::*;
use domain::{ShopId, TrackingId};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha2::{Digest, Sha256};
use std::io::Write;
use tokio::net::TcpListener;

const SHOP: ShopCredentials<'static> = ShopCredentials {
    shop_id: "1001",
    secret: "hush",
};
const ACK: &str = r#"{"status":"processing","request_id":"a"}"#;

async fn serve(acts: Vec<Vec<ServerAction>>) -> (GatewayClient, ReceivedRequest) {
    let (port, seen) = super::raw_server::serve(acts).await;
    (client(port), seen)
}

fn client(port: u16) -> GatewayClient {
    let base_url = Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    GatewayClient::new(&ClientSettings {
        base_url,
        connect_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_secs(3),
        max_connection_age: Duration::from_secs(300),
        proxy: crate::settings::Proxy::default(),
        ca_file: None,
    })
    .unwrap()
}

fn key() -> GatewayIdempotencyKey {
    GatewayIdempotencyKey::of(
        &ShopId::parse("1001").unwrap(),
        &TrackingId::parse("t-1").unwrap(),
    )
}

async fn submit(client: &GatewayClient, may_send: bool) -> SubmitExchange {
    let body = SensitiveBody::new(br#"{"request":{"amount":5}}"#.to_vec());
    client
        .submit(SHOP, TransactionType::Payment, body, key(), move || {
            may_send
        })
        .await
}

fn uid() -> Uid {
    Uid::from_gateway("u-1").unwrap()
}

#[tokio::test]
async fn a_submit_on_the_wire() {
    let (client, seen) = serve(vec![vec![ServerAction::Answer(plain("200 OK", ACK))]]).await;
    let SubmitExchange::Answered(answer) = submit(&client, true).await else {
        panic!("no answer")
    };
    assert_eq!((answer.status, answer.truncated), (200, false));
    assert_eq!(answer.body, ACK);
    let request = seen.requests()[0].clone();
    let lower = request.to_ascii_lowercase();
    assert!(
        request.starts_with("POST /async/transactions/payments HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.ends_with("\r\n\r\n{\"request\":{\"amount\":5}}"),
        "{request}"
    );
    for header in [
        "content-length: 24\r\n",
        "content-type: application/json\r\n",
        "accept: application/json\r\n",
        "authorization: basic mtawmtpodxno\r\n",
        &format!("requestid: {}\r\n", key().0),
        "user-agent: reconciler/",
    ] {
        assert_eq!(lower.matches(header).count(), 1, "{header} in {request}");
    }
    assert!(
        !lower.contains("transfer-encoding") && !lower.contains("x-api-version"),
        "{request}"
    );
}

#[tokio::test]
async fn without_leave_nothing_leaves() {
    let (client, seen) = serve(vec![vec![ServerAction::Answer(plain("200 OK", ACK))]]).await;
    let fate = submit(&client, false).await;
    assert!(
        matches!(&fate, SubmitExchange::NotSent { reason } if reason.contains("withheld")),
        "{fate:?}"
    );
    // A read on the same server comes after whatever the submit may have written.
    client.by_uid(SHOP, &uid()).await;
    assert_eq!(seen.requests().len(), 1);
    assert!(seen.requests()[0].starts_with("GET "));
    assert!(seen.stray.lock().unwrap().is_empty(), "not even a head");
}

#[tokio::test]
async fn no_listener_is_a_connection_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(listener.local_addr().unwrap().port());
    drop(listener);
    assert!(matches!(
        submit(&client, true).await,
        SubmitExchange::NotSent { .. }
    ));
    assert!(matches!(
        client.by_uid(SHOP, &uid()).await,
        ReadExchange::NotAsked { .. }
    ));
}

#[tokio::test]
async fn an_unanswered_submit_is_unclear_and_sent_once() {
    for act in [
        ServerAction::Close,
        ServerAction::AnswerAndClose(b"HTTP/1.1 200 OK\r\ncont".to_vec()),
    ] {
        let (client, seen) = serve(vec![vec![act]]).await;
        let fate = submit(&client, true).await;
        assert!(
            matches!(fate, SubmitExchange::Unclear { partial: None, .. }),
            "{fate:?}"
        );
        assert_eq!((seen.requests().len(), seen.connections()), (1, 1));
    }
}

#[tokio::test]
async fn a_submit_without_an_answer_in_time_is_unclear() {
    let (client, seen) = serve(vec![vec![ServerAction::Silence]]).await;
    assert!(matches!(
        submit(&client, true).await,
        SubmitExchange::Unclear { partial: None, .. }
    ));
    assert_eq!(seen.requests().len(), 1);
}

#[tokio::test]
async fn submits_never_share_a_connection() {
    // The server keeps every connection open, and cuts it at the second request.
    let (client, seen) = serve(vec![vec![
        ServerAction::Answer(plain("200 OK", ACK)),
        ServerAction::Close,
    ]])
    .await;
    for count in 1..=5 {
        assert!(matches!(
            submit(&client, true).await,
            SubmitExchange::Answered(_)
        ));
        assert_eq!((seen.requests().len(), seen.connections()), (count, count));
    }
}

#[tokio::test]
async fn a_cut_pooled_connection_is_not_retried() {
    let (client, seen) = serve(vec![
        vec![
            ServerAction::Answer(plain("200 OK", "{}")),
            ServerAction::Close,
        ],
        vec![ServerAction::Answer(plain("200 OK", ACK))],
    ])
    .await;
    let task = TaskId::from_gateway("t").unwrap();
    assert!(matches!(
        client.result(SHOP, &task).await,
        ReadExchange::Answered(_)
    ));
    let cut = client.result(SHOP, &task).await;
    assert!(
        matches!(
            cut,
            ReadExchange::Interrupted {
                response_began: false,
                ..
            }
        ),
        "{cut:?}"
    );
    assert_eq!((seen.requests().len(), seen.connections()), (2, 1));
    // A submit after that: one POST, on a connection of its own.
    assert!(matches!(
        submit(&client, true).await,
        SubmitExchange::Answered(_)
    ));
    let posts = seen
        .requests()
        .iter()
        .filter(|r| r.starts_with("POST "))
        .count();
    assert_eq!(
        (posts, seen.requests().len(), seen.connections()),
        (1, 3, 2)
    );
}

#[tokio::test]
async fn answers_that_break_off() {
    let half = b"HTTP/1.1 422 Unprocessable\r\ncontent-length: 100\r\n\r\n{\"message\":".to_vec();
    let (client, _) = serve(vec![vec![ServerAction::AnswerAndClose(half)]]).await;
    let SubmitExchange::Unclear {
        partial: Some(partial),
        ..
    } = submit(&client, true).await
    else {
        panic!("half an answer was taken")
    };
    assert_eq!((partial.status, partial.truncated), (422, true));
    assert_eq!(partial.body, "{\"message\":");
    let read = client
        .status(SHOP, &TaskId::from_gateway("t").unwrap())
        .await;
    assert!(
        matches!(read, ReadExchange::Interrupted { response_began: true, partial: Some(p), .. }
        if p.truncated)
    );
}

#[tokio::test]
async fn answers_beyond_the_limit() {
    let (client, _) = serve(vec![vec![ServerAction::Answer(plain(
        "200 OK",
        &"x".repeat(MAX_RESPONSE_BYTES + 1),
    ))]])
    .await;
    let read = client.by_uid(SHOP, &uid()).await;
    assert!(
        matches!(read, ReadExchange::Answered(a) if a.truncated && a.body.len() == MAX_RESPONSE_BYTES)
    );
    let fate = submit(&client, true).await;
    assert!(matches!(
        fate,
        SubmitExchange::Unclear {
            partial: Some(_),
            ..
        }
    ));
    let (client, _) = serve(vec![vec![ServerAction::Answer(plain(
        "200 OK",
        &"x".repeat(MAX_RESPONSE_BYTES),
    ))]])
    .await;
    let read = client.by_uid(SHOP, &uid()).await;
    assert!(
        matches!(read, ReadExchange::Answered(a) if !a.truncated && a.body.len() == MAX_RESPONSE_BYTES)
    );
}

/// A gzip file of stored blocks.
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = content.chunks(65_535).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap();
        file.push(u8::from(blocks.peek().is_none()));
        file.extend(length.to_le_bytes());
        file.extend((!length).to_le_bytes());
        file.extend(block);
    }
    let crc = !content.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            (c >> 1) ^ (0xEDB8_8320 & (c & 1).wrapping_neg())
        })
    });
    file.extend(crc.to_le_bytes());
    file.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
    file
}

#[tokio::test]
async fn compressed_answers() {
    let answer = |content: &[u8]| {
        let file = gzip(content);
        let head =
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nx-request-id: r\r\ncontent-length:";
        [format!("{head} {}\r\n\r\n", file.len()).as_bytes(), &file].concat()
    };
    let (client, _) = serve(vec![
        vec![ServerAction::AnswerAndClose(answer(ACK.as_bytes()))],
        vec![ServerAction::AnswerAndClose(answer(&vec![
            b'x';
            MAX_RESPONSE_BYTES
                + 7
        ]))],
    ])
    .await;
    let read = client.by_uid(SHOP, &uid()).await;
    assert!(
        matches!(&read, ReadExchange::Answered(a) if a.body == ACK && !a.truncated),
        "{read:?}"
    );
    assert!(matches!(read, ReadExchange::Answered(a) if a.request_id.as_deref() == Some("r")));
    let read = client.by_uid(SHOP, &uid()).await;
    assert!(
        matches!(&read, ReadExchange::Answered(a) if a.truncated && a.body.len() == MAX_RESPONSE_BYTES)
    );
}

#[tokio::test]
async fn an_unrequested_coding_is_decoded_and_hashed_as_received() {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    packed.write_all(ACK.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let answer = |coding: &str| {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
            packed.len()
        );
        vec![ServerAction::AnswerAndClose(
            [head.as_bytes(), &packed].concat(),
        )]
    };
    let (client, _) = serve(vec![answer("deflate"), answer("br")]).await;
    let sha256: [u8; 32] = Sha256::digest(&packed).into();
    let read = client.by_uid(SHOP, &uid()).await;
    assert!(
        matches!(&read, ReadExchange::Answered(a) if a.body == ACK && a.sha256 == sha256),
        "{read:?}"
    );
    let read = client.by_uid(SHOP, &uid()).await;
    assert!(
        matches!(&read, ReadExchange::Answered(a) if a.body == packed),
        "{read:?}"
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let moved = b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_vec();
    let (client, seen) = serve(vec![vec![ServerAction::Answer(moved)]]).await;
    assert!(matches!(submit(&client, true).await, SubmitExchange::Answered(a) if a.status == 302));
    let read = client.by_uid(SHOP, &uid()).await;
    assert!(matches!(read, ReadExchange::Answered(a) if a.status == 302));
    assert_eq!(seen.requests().len(), 2);
}

#[tokio::test]
async fn reads_on_the_wire() {
    let (client, seen) = serve(vec![vec![ServerAction::Answer(plain("200 OK", "{}")); 9]]).await;
    let task = TaskId::from_gateway("t-9").unwrap();
    client.status(SHOP, &task).await;
    client.result(SHOP, &task).await;
    client.by_tracking_id(SHOP, "a;b c").await;
    client
        .query(SHOP, RequestMode::Async, &QueryKind::ByUid(uid()))
        .await;
    let balance = QueryKind::Balance(Map::from_iter([("account".to_owned(), Value::from("x"))]));
    client.query(SHOP, RequestMode::Sync, &balance).await;
    client.query(SHOP, RequestMode::Async, &balance).await;
    let requests = seen.requests();
    let lines: Vec<&str> = requests.iter().filter_map(|r| r.lines().next()).collect();
    assert_eq!(
        lines,
        [
            "GET /async/status/t-9 HTTP/1.1",
            "GET /async/result/t-9 HTTP/1.1",
            "GET /v2/transactions/tracking_id/a%3Bb%20c HTTP/1.1",
            "GET /async/transactions/u-1 HTTP/1.1",
            "POST /balance HTTP/1.1",
            "POST /async/balance HTTP/1.1",
        ]
    );
    assert!(
        requests[4]
            .to_ascii_lowercase()
            .contains("x-api-version: 2\r\n")
    );
    assert!(requests[5].ends_with(r#"{"request":{"account":"x"}}"#));
    assert!(matches!(
        client.by_tracking_id(SHOP, "..").await,
        ReadExchange::NotAsked { .. }
    ));
    assert_eq!(seen.connections(), 1);
}

#[test]
fn nothing_prints_a_secret() {
    assert!(!format!("{SHOP:?}").contains("hush"));
}
