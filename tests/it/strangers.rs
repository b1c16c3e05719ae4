//! The danger: a few addresses take all connections, all memory or all of the log for themselves.

use crate::world::{Addresses, FakeGateway, FakeReply, KEY, Merchant, Process, SECRET, SHOP};
use crate::world::{Setup, World, eventually};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use twin::{Signer, SigningKey};

/// Longer than any deadline of a connection.
const CUT: Duration = Duration::from_secs(12);

/// Everybody else is at 127.0.0.1.
fn stranger(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

/// Opens a connection from an address of its own.
async fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let connecting = socket.connect(to);
    timeout(Duration::from_secs(5), connecting).await?
}

fn basic(secret: &str) -> String {
    STANDARD.encode(format!("{SHOP}:{secret}"))
}

/// Reads one answer: its head, and a body of known length.
async fn answer(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = async {
        loop {
            let text = String::from_utf8_lossy(&all).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .to_ascii_lowercase()
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
                if body.len() >= length.unwrap_or(0) {
                    return;
                }
            }
            if stream.read_buf(&mut all).await.unwrap_or(0) == 0 {
                return;
            }
        }
    };
    drop(timeout(CUT, read).await);
    String::from_utf8_lossy(&all).into_owned()
}

/// Whether the other side closes it in time. Nothing more is sent.
async fn is_cut(stream: &mut TcpStream, within: Duration) -> bool {
    let mut rest = Vec::new();
    timeout(within, stream.read_to_end(&mut rest)).await.is_ok()
}

/// Sends a little of a head again and again. Whether it is cut in time.
async fn is_cut_while_it_trickles(mut stream: TcpStream) -> bool {
    let begun = Instant::now();
    drop(stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").await);
    while begun.elapsed() < CUT {
        if is_cut(&mut stream, Duration::from_millis(500)).await {
            return true;
        }
        drop(stream.write_all(b"a: b\r\n").await);
    }
    false
}

/// A webhook that is as it should be, of no transaction.
fn signed(n: usize) -> (String, String) {
    let body = json!({"neither": "transaction", "n": n}).to_string();
    let signer = Signer::new().unwrap();
    let signature = signer.sign(SigningKey::Default, body.as_bytes()).unwrap();
    let (basic, length) = (basic(SECRET), body.len());
    let head = format!(
        "POST /webhooks/{SHOP} HTTP/1.1\r\nhost: x\r\nauthorization: Basic {basic}\r\n\
         content-signature: {signature}\r\ncontent-length: {length}\r\n"
    );
    (head, body)
}

/// Starts the real binary with a limit of open files.
async fn process(world: &World, files: u32) -> (Process, Merchant, Addresses) {
    let addresses = Addresses::reserve();
    let config = world.straight_config_text(&addresses);
    let process = Process::start_with_files(&config, files);
    let merchant = Merchant::new(&addresses, KEY);
    merchant.until_ready().await;
    (process, merchant, addresses)
}

#[test]
fn slow_second_heads_without_a_key_block_no_client() {
    Setup::default().service_down().run(async |world| {
        let (process, merchant, at) = process(world, 600).await;
        let coming = (0..440).map(|_| async move {
            let mut stream = connect(stranger(2), at.webhooks).await.ok()?;
            let first = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
            first.ok()?;
            let told = timeout(Duration::from_secs(1), answer(&mut stream)).await;
            let told = told.unwrap_or_default();
            assert!(
                told.is_empty() || told.contains("connection: close"),
                "{told}"
            );
            let second = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\na: ");
            second.await.ok().map(|()| stream)
        });
        let held = futures_util::future::join_all(coming).await;
        let (head, body) = signed(1);
        let mut stream = connect(stranger(1), at.webhooks).await.unwrap();
        let whole = format!("{head}\r\n{body}");
        stream.write_all(whole.as_bytes()).await.unwrap();
        let told = timeout(Duration::from_secs(3), answer(&mut stream)).await;
        assert!(told.unwrap_or_default().starts_with("HTTP/1.1 200"));
        // Its end is told by a webhook.
        merchant.pay_and_wait("ok-beside-slow").await.expect(200);
        drop((held, process));
    });
}

#[test]
fn every_head_of_a_connection_has_a_deadline() {
    Setup::default().service_down().run(async |world| {
        let (process, _, at) = process(world, 2_000).await;
        let (hook, body) = signed(2);
        let first = [
            (at.webhooks, format!("{hook}\r\n{body}")),
            (at.ops, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()),
            (
                at.api,
                format!(
                    "GET /v1/shops/{SHOP}/events HTTP/1.1\r\nhost: x\r\n\
                     authorization: Bearer {KEY}\r\n\r\n"
                ),
            ),
        ];
        let slow = first.map(|(to, request)| async move {
            let mut stream = connect(stranger(2), to).await.unwrap();
            for _ in 0..2 {
                stream.write_all(request.as_bytes()).await.unwrap();
                let told = answer(&mut stream).await;
                assert!(told.starts_with("HTTP/1.1 200"), "{told}");
            }
            assert!(is_cut_while_it_trickles(stream).await, "{request}");
        });
        futures_util::future::join_all(slow).await;
        drop(process);
    });
}

#[test]
fn an_unread_body_does_not_keep_a_connection() {
    Setup::default().service_down().run(async |world| {
        let (process, _, at) = process(world, 2_000).await;
        for (to, path) in [(at.ops, "/livez"), (at.api, "/nothing")] {
            let mut stream = connect(stranger(2), to).await.unwrap();
            let head = format!(
                "GET {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let begun = Instant::now();
            let mut cut = false;
            while begun.elapsed() < CUT && !cut {
                drop(stream.write_all(b"1\r\nx\r\n").await);
                cut = is_cut(&mut stream, Duration::from_millis(500)).await;
            }
            assert!(cut, "{path}");
        }
        drop(process);
    });
}

#[test]
fn half_sent_heads_hold_little_memory() {
    Setup::default().service_down().run(async |world| {
        let (process, _, at) = process(world, 4_000).await;
        let before = process.memory_kib();
        let coming = (0..900).map(|n| async move {
            let from = stranger(2 + u8::try_from(n % 6).unwrap());
            let mut stream = connect(from, at.webhooks).await.ok()?;
            let head = format!("GET / HTTP/1.1\r\nhost: x\r\na: {}", "b".repeat(124_000));
            // It may be cut before all of it is written.
            drop(stream.write_all(head.as_bytes()).await);
            Some(stream)
        });
        let held = futures_util::future::join_all(coming).await;
        assert!(held.iter().flatten().count() > 800);
        let grown = process.memory_kib().saturating_sub(before);
        assert!(grown < 40 * 1024, "it grew by {grown} KiB");
        drop(held);
    });
}

/// How many of these connections are open: as soon as there are so few, or when the first of them gets too old.
async fn open(held: Vec<TcpStream>, few: usize) -> usize {
    let is_open = |stream: &&TcpStream| {
        let read = stream.try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let mut now = held.len();
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let before = now;
        now = held.iter().filter(is_open).count();
        if now <= few && now == before {
            break;
        }
    }
    now
}

/// Opens so many connections from one address that have not asked for anything yet.
async fn idle(from: Ipv4Addr, to: SocketAddr, number: usize) -> Vec<TcpStream> {
    let coming = (0..number).map(|_| connect(from, to));
    let coming = futures_util::future::join_all(coming).await;
    coming.into_iter().flatten().collect()
}

#[test]
fn connections_are_limited_per_address() {
    Setup::default().service_down().run(async |world| {
        let (process, merchant, at) = process(world, 4_000).await;
        let refused = async |listener: &str| {
            let labels = [("listener", listener), ("reason", "peer_limit")];
            let metrics = merchant.metrics().await;
            metrics.sum("reconciler_connections_closed_total", &labels)
        };
        for (listener, to) in [("api", at.api), ("webhooks", at.webhooks)] {
            let held = idle(stranger(2), to, 400).await;
            eventually("what is too much is closed", async || {
                (refused(listener).await >= 144.0).then_some(())
            })
            .await;
            assert_eq!(refused(listener).await, 144.0);
            assert!(open(held, 256).await <= 256);
            // What was closed makes room again.
            eventually("there is room again", async || {
                let few = idle(stranger(2), to, 1).await;
                (open(few, 1).await == 1).then_some(())
            })
            .await;
        }
        merchant.pay_and_wait("ok-beside-many").await.expect(200);
        assert!(process.log().matches("max_connections_per_peer").count() <= 2);
    });
}

#[test]
fn a_whole_request_that_comes_at_once_is_no_half_sent_head() {
    Setup::default().service_down().run(async |world| {
        let (process, _, at) = process(world, 4_000).await;
        let coming = (0..400).map(|n| async move {
            let from = stranger(2 + u8::try_from(n % 6).unwrap());
            let mut stream = connect(from, at.webhooks).await.ok()?;
            let head = format!("GET / HTTP/1.1\r\nhost: x\r\na: {}", "b".repeat(30_000));
            drop(stream.write_all(head.as_bytes()).await);
            Some(stream)
        });
        let held = futures_util::future::join_all(coming).await;
        let (head, body) = signed(3);
        let filled = format!("{head}x-filling: {}\r\n\r\n{body}", "b".repeat(12_000));
        let mut stream = connect(stranger(1), at.webhooks).await.unwrap();
        stream.write_all(filled.as_bytes()).await.unwrap();
        let told = answer(&mut stream).await;
        assert!(told.starts_with("HTTP/1.1 200"), "{told}");
        drop((held, process));
    });
}

#[test]
fn a_pipelined_body_is_read_after_the_request_before_it() {
    Setup::default().service_down().run(async |world| {
        let (process, merchant, at) = process(world, 2_000).await;
        merchant.pay("never-polled").await.expect(202);
        let mut body = crate::world::payment("ok-behind").to_string();
        body.push_str(&" ".repeat(100_000));
        let key = format!("host: x\r\nauthorization: Bearer {KEY}\r\n");
        let both = format!(
            "GET /v1/shops/{SHOP}/transactions/never-polled HTTP/1.1\r\n{key}prefer: wait=3\r\n\r\n\
             POST /v1/shops/{SHOP}/payments HTTP/1.1\r\n{key}content-type: application/json\r\n\
             prefer: respond-async\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = connect(stranger(1), at.api).await.unwrap();
        let begun = Instant::now();
        let (mut read, mut write) = stream.split();
        let mut told = Vec::new();
        let reading = async {
            while !String::from_utf8_lossy(&told).contains("ok-behind") {
                if read.read_buf(&mut told).await.unwrap_or(0) == 0 {
                    break;
                }
            }
        };
        let writing = write.write_all(both.as_bytes());
        let (_, written) = tokio::join!(timeout(CUT, reading), writing);
        written.unwrap();
        let told = String::from_utf8_lossy(&told);
        assert!(told.contains("HTTP/1.1 202"), "{told}");
        assert!(
            begun.elapsed() < Duration::from_secs(8),
            "{:?}",
            begun.elapsed()
        );
        drop(process);
    });
}

#[test]
fn a_slow_reader_that_keeps_up_is_not_cut() {
    Setup::default().service_down().run(async |world| {
        let (process, _, at) = process(world, 2_000).await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16_384).unwrap();
        let mut stream = socket.connect(at.ops).await.unwrap();
        let ask = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(400);
        drop(timeout(Duration::from_secs(2), stream.write_all(ask.as_bytes())).await);
        // 20 KB a second, for longer than two deadlines.
        let mut piece = vec![0; 5_000];
        for n in 0..100 {
            let read = timeout(Duration::from_secs(1), stream.read_exact(&mut piece)).await;
            assert!(matches!(read, Ok(Ok(_))), "cut after {} ms", n * 250);
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        drop(process);
    });
}

#[test]
fn a_reader_that_does_not_read_is_cut() {
    Setup::default().service_down().run(async |world| {
        let (process, _, at) = process(world, 2_000).await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut stream = socket.connect(at.ops).await.unwrap();
        let ask = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
        drop(timeout(Duration::from_secs(3), stream.write_all(ask.as_bytes())).await);
        tokio::time::sleep(Duration::from_secs(14)).await;
        // What is in the buffers between us comes, and then the end.
        assert!(is_cut(&mut stream, Duration::from_secs(5)).await);
        drop(process);
    });
}

#[test]
fn large_bodies_share_a_budget_and_leave_room_for_small_ones() {
    const LENGTH: usize = 1_000_000;
    Setup::default().service_down().run(async |world| {
        let (process, merchant, at) = process(world, 4_000).await;
        merchant.pay_and_wait("ok-before").await.expect(200);
        let before = process.memory_kib();
        let filling = "x".repeat(LENGTH);
        let coming = (0..250).map(|_| {
            let head = format!(
                "POST /v1/shops/{SHOP}/payments HTTP/1.1\r\nhost: x\r\n\
                 authorization: Bearer {KEY}\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{{\"a\": \"",
                LENGTH + 100
            );
            let filling = &filling;
            async move {
                let mut stream = connect(stranger(2), at.api).await.unwrap();
                drop(stream.write_all(head.as_bytes()).await);
                // The last of it never comes.
                let sent = stream.write_all(filling.as_bytes());
                drop(timeout(Duration::from_secs(4), sent).await);
                let mut start = vec![0; 1_000];
                let read = timeout(Duration::from_secs(1), stream.read(&mut start)).await;
                let read = read.ok().and_then(Result::ok).unwrap_or(0);
                let told = String::from_utf8_lossy(&start[..read]).into_owned();
                (stream, told)
            }
        });
        let all = async {
            let held = futures_util::future::join_all(coming).await;
            (held, process.memory_kib())
        };
        let small = async {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            for n in 0..5 {
                let name = format!("ok-small-{n}");
                merchant.pay(&name).await.expect(202);
            }
        };
        let ((held, after), ()) = tokio::join!(all, small);
        let refused: Vec<_> = held.iter().filter(|(_, told)| !told.is_empty()).collect();
        let is_right = |told: &str| {
            told.starts_with("HTTP/1.1 503") && told.to_ascii_lowercase().contains("retry-after: ")
        };
        let strange = refused.iter().find(|(_, told)| !is_right(told));
        assert!(strange.is_none(), "{strange:?}");
        assert!((150..250).contains(&refused.len()), "{}", refused.len());
        let grown = after.saturating_sub(before);
        assert!(grown < 110 * 1024, "it grew by {grown} KiB");
    });
}

/// Sends one webhook over a connection of its own. Returns its status, or 0.
async fn hook(to: SocketAddr, secret: &str, more: &str) -> u16 {
    let Ok(mut stream) = connect(stranger(1), to).await else {
        return 0;
    };
    let basic = basic(secret);
    let request = format!(
        "POST /webhooks/{SHOP} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\
         authorization: Basic {basic}\r\ncontent-signature: AAAA\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    drop(stream.write_all(request.as_bytes()).await);
    let told = answer(&mut stream).await;
    told.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0)
}

#[test]
fn forged_webhooks_write_few_log_lines() {
    Setup::default().service_down().run(async |world| {
        let (process, merchant, at) = process(world, 4_000).await;
        let lines = || {
            let log = process.log();
            log.lines().filter(|line| line.contains("webhook")).count()
        };
        let flood = async |times: usize| {
            for _ in 0..times {
                let all = (0..50).map(|_| hook(at.webhooks, SECRET, ""));
                let all = futures_util::future::join_all(all).await;
                assert!(all.iter().all(|status| *status == 401), "{all:?}");
            }
        };
        flood(40).await;
        let found = merchant.until_found("signature_rejected").await;
        flood(1).await;
        eventually("it says when the last one came", async || {
            let now = merchant.until_found("signature_rejected").await;
            assert_eq!(now["id"], found["id"]);
            let is_told = now["detail"].as_str()?.contains("; the last one at");
            is_told.then_some(())
        })
        .await;
        let path = format!("discrepancies/{}/resolve", found["id"].as_str().unwrap());
        let reason = json!({"reason": "somebody plays"});
        merchant.post(&path, reason).await.expect(200);
        tokio::time::sleep(Duration::from_secs(2)).await;
        flood(10).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        flood(10).await;
        let told = eventually("it is told anew", async || {
            let all = merchant.get("discrepancies?kind=signature_rejected").await;
            let all = all.json["discrepancies"].as_array().cloned().unwrap();
            // What came after the first was resolved is one more, however many came.
            assert!(all.len() <= 2, "{all:?}");
            (all.len() == 2).then_some(all)
        })
        .await;
        assert_eq!(told[0]["status"], "open", "{told:?}");
        assert_eq!(told[1]["id"], found["id"], "{told:?}");
        assert_eq!(told[1]["status"], "resolved", "{told:?}");
        assert!(lines() < 10, "{}", process.log());
    });
}

#[test]
fn wrong_credentials_slow_only_their_peer() {
    let setup = Setup::default()
        .set("webhooks", "trusted_proxies", "[\"127.0.0.0/8\"]")
        .service_down();
    setup.run(async |world| {
        let (process, _, at) = process(world, 4_000).await;
        let from = |peer: &str| format!("x-forwarded-for: 198.51.100.9, {peer}\r\n");
        let (guilty, other) = (&from("203.0.113.7"), &from("203.0.113.8"));
        let begun = Instant::now();
        for _ in 0..60 {
            assert_eq!(hook(at.webhooks, "wrong", guilty).await, 401);
        }
        assert!(begun.elapsed() > Duration::from_secs(2), "{begun:?}");
        let begun = Instant::now();
        assert_eq!(hook(at.webhooks, "wrong", other).await, 401);
        assert!(begun.elapsed() < Duration::from_millis(90));
        // The gateway itself may be behind the same address.
        let begun = Instant::now();
        for n in 0..10 {
            let (head, body) = signed(n);
            let mut stream = connect(stranger(1), at.webhooks).await.unwrap();
            let whole = format!("{head}{guilty}\r\n{body}");
            stream.write_all(whole.as_bytes()).await.unwrap();
            assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
        }
        assert!(begun.elapsed() < Duration::from_secs(2));
        drop(process);
    });
}

#[test]
fn a_trusted_proxy_has_as_many_connections_as_it_needs() {
    let setup = Setup::default()
        .set("webhooks", "trusted_proxies", "[\"127.0.0.2\"]")
        .set("webhooks", "max_connections_per_peer", "10")
        .service_down();
    setup.run(async |world| {
        let (process, _, at) = process(world, 4_000).await;
        let held = idle(stranger(2), at.webhooks, 300).await;
        assert_eq!(open(held, 300).await, 300);
        let held = idle(stranger(3), at.webhooks, 30).await;
        assert_eq!(open(held, 10).await, 10);
        drop(process);
    });
}

/// Requests a payment with one more field. Returns its status, or 0.
async fn large_payment(to: SocketAddr, name: String, filling: &str) -> u16 {
    let body = format!(
        "{{\"amount\":100,\"currency\":\"EUR\",\"description\":\"x\",\"tracking_id\":\"{name}\",\
         \"test\":true,\"credit_card\":{{\"token\":\"{name}\"}},\"a\":{filling}}}"
    );
    let Ok(mut stream) = connect(stranger(2), to).await else {
        return 0;
    };
    let head = format!(
        "POST /v1/shops/{SHOP}/payments HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    drop(stream.write_all(head.as_bytes()).await);
    drop(stream.write_all(body.as_bytes()).await);
    let told = answer(&mut stream).await;
    told.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0)
}

#[test]
fn waiting_requests_count_their_parsed_body() {
    let gateway = FakeGateway::start(async |_| {
        tokio::time::sleep(Duration::from_secs(5)).await;
        FakeReply::Close
    });
    let setup = Setup::default()
        .gateway(&gateway)
        .set("api", "max_body_total", "2097152")
        .quiet()
        .service_down();
    setup.run(async |world| {
        let (process, _, at) = process(world, 4_000).await;
        // Each value of the list takes many times what its text does.
        let text = format!("\"{}\"", "x".repeat(40_000));
        let list = format!("[{}0]", "0,".repeat(20_000));
        for (what, filling) in [("text", text), ("list", list)] {
            let all = (0..10).map(|n| large_payment(at.api, format!("{what}-{n}"), &filling));
            let told = futures_util::future::join_all(all).await;
            let refused = told.iter().filter(|status| **status == 503).count();
            let is_right = if what == "text" {
                refused == 0
            } else {
                (1..10).contains(&refused)
            };
            assert!(is_right, "{what}: {told:?}");
        }
        drop(process);
    });
}
