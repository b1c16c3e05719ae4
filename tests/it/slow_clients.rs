//! The danger: a few connections that send little, slowly or too much keep everybody else out.

use crate::world::{Addresses, KEY, Merchant, Process, SECRET, SHOP, Setup, World, eventually};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::{Channel, ShopId};
use reconciler::ledger::{EvidenceTarget, Ledger, LedgerError, RecordEvidence};
use reconciler::metrics::Metrics;
use reconciler::observation::Observation;
use reconciler::store::Store;
use rustix::process::Signal;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use twin::{Signer, SigningKey};

/// The pause between two pieces of what is sent slowly.
const TRICKLE: Duration = Duration::from_millis(200);

/// So many pieces are far more than any limit lets through.
const PIECES: usize = 150;

/// Sends a beginning and then piece after piece; gives what was answered before it was cut.
async fn trickle(to: SocketAddr, begin: &str, piece: &str) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(begin.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    for _ in 0..PIECES {
        match timeout(TRICKLE, stream.read_buf(&mut answer)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return String::from_utf8_lossy(&answer).into_owned(),
            // Nothing yet. A write that fails shows in the next read.
            Err(_) => drop(stream.write_all(piece.as_bytes()).await),
        }
    }
    panic!("it was not cut: {}", String::from_utf8_lossy(&answer));
}

/// Everybody else is served on all three listeners.
async fn others_are_served(world: &World, name: &str) {
    assert_eq!(world.readiness().await, Some(200));
    world.get("events").await.expect(200);
    // Its end is told by a webhook.
    world.pay_and_wait(name).await.expect(200);
}

/// No memory is kept for what a stranger sends.
#[test]
fn an_unauthenticated_webhook_is_rejected_before_its_body() {
    Setup::default().quiet().run(async |world| {
        let head = format!("POST /webhooks/{SHOP} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n");
        for more in ["", "authorization: Basic eDp5\r\n"] {
            let begin = format!("{head}{more}\r\n");
            // Nothing of the body is ever sent: who waits for it answers 408.
            let mut stream = TcpStream::connect(world.addresses().webhooks)
                .await
                .unwrap();
            stream.write_all(begin.as_bytes()).await.unwrap();
            let mut line = [0; 12];
            stream.read_exact(&mut line).await.unwrap();
            assert_eq!(&line, b"HTTP/1.1 401");
        }
    });
}

#[test]
fn a_head_that_trickles_is_cut_while_others_are_served() {
    Setup::default().run(async |world| {
        let at = world.addresses();
        let slow = [at.api, at.webhooks, at.ops].map(|to| {
            let slow =
                (0..40).map(move |_| trickle(to, "GET / HTTP/1.1\r\nhost: x\r\n", "a: b\r\n"));
            futures_util::future::join_all(slow)
        });
        let all = futures_util::future::join_all(slow);
        let (answers, ()) = tokio::join!(all, others_are_served(world, "ok-beside-heads"));
        for answer in answers.concat() {
            assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
        }
    });
}

#[test]
fn a_body_that_trickles_is_cut_while_others_are_served() {
    Setup::default().run(async |world| {
        let at = world.addresses();
        let api = format!(
            "POST /v1/shops/1001/payments HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\
             content-type: application/json\r\ncontent-length: 5000\r\n\r\n{{"
        );
        let basic = STANDARD.encode(format!("{SHOP}:{SECRET}"));
        let hook = format!(
            "POST /webhooks/{SHOP} HTTP/1.1\r\nhost: x\r\nauthorization: Basic {basic}\r\n\
             content-length: 5000\r\n\r\n{{"
        );
        let slow = (0..40).flat_map(|_| [(at.api, api.clone()), (at.webhooks, hook.clone())]);
        let slow = slow.map(|(to, begin)| async move { trickle(to, &begin, " ").await });
        let all = futures_util::future::join_all(slow);
        let (answers, ()) = tokio::join!(all, others_are_served(world, "ok-beside-bodies"));
        for answer in answers {
            assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
        }
    });
}

#[test]
fn a_head_that_is_too_much_is_refused() {
    Setup::default().run(async |world| {
        let at = world.addresses();
        for to in [at.api, at.webhooks, at.ops] {
            let many = format!(
                "GET / HTTP/1.1\r\nhost: x\r\n{}\r\n",
                "a: b\r\n".repeat(200)
            );
            let long = format!(
                "GET / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n",
                "b".repeat(300_000)
            );
            for head in [many, long] {
                let mut stream = TcpStream::connect(to).await.unwrap();
                // It may be cut before all of it is written.
                drop(stream.write_all(head.as_bytes()).await);
                let mut answer = Vec::new();
                drop(stream.read_to_end(&mut answer).await);
                let answer = String::from_utf8_lossy(&answer);
                assert!(
                    answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
                    "{answer:?}"
                );
                assert!(
                    !answer.starts_with("HTTP/1.1 404"),
                    "it was read: {answer:?}"
                );
            }
        }
        others_are_served(world, "ok-after-heads").await;
    });
}

/// What is answered over a connection of its own; nothing when that takes too long.
async fn fresh(to: SocketAddr, path: &str) -> String {
    let asking = async {
        let mut stream = TcpStream::connect(to).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(Duration::from_secs(10), asking).await;
    answer.ok().and_then(Result::ok).unwrap_or_default()
}

#[test]
fn a_full_listener_does_not_affect_the_others() {
    // Far more connections come than the process may have files.
    const FILES: u32 = 600;
    const COMING: usize = 1_500;
    Setup::default().service_down().run(async |world| {
        let addresses = Addresses::reserve();
        let config = world.straight_config_text(&addresses);
        let mut process = Process::start_with_files(&config, FILES);
        let merchant = Merchant::new(&addresses, KEY);
        merchant.until_ready().await;
        let others = process.open_files();
        for to in [addresses.api, addresses.webhooks] {
            let coming = (0..COMING).map(|n| async move {
                // One peer alone does not fill it.
                let from = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(n % 10).ok()?);
                let socket = TcpSocket::new_v4().ok()?;
                socket.bind(SocketAddr::from((from, 0))).ok()?;
                let coming = timeout(Duration::from_secs(2), socket.connect(to)).await;
                let mut stream = coming.ok()?.ok()?;
                // One that has begun to ask may stay for a while.
                let asked = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n");
                asked.await.ok().map(|()| stream)
            });
            let held = futures_util::future::join_all(coming).await;
            assert!(held.iter().flatten().count() > 150, "they reach it");
            eventually("it takes no more", async || {
                let before = process.open_files();
                tokio::time::sleep(Duration::from_millis(300)).await;
                (before > others + 100 && process.open_files() == before).then_some(())
            })
            .await;
            for path in ["/livez", "/readyz", "/metrics"].repeat(3) {
                let answer = fresh(addresses.ops, path).await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer:?}");
            }
            drop(held);
        }
        eventually("callers are served again", async || {
            let done = merchant.pay_and_wait("ok-after-all").await;
            (done.json["state"] == "successful").then_some(())
        })
        .await;
        process.signal(Signal::TERM);
        assert!(process.ended().await.success(), "{}", process.log());
    });
}

/// So many webhooks at once, of so many bytes each.
const FLOOD: (usize, usize) = (1_200, 20_000);

/// The status that a webhook is answered with, over a connection of its own; 0 when it is cut.
async fn post(to: SocketAddr, head: &str, body: &[u8], sent: &AtomicUsize) -> u16 {
    let length = body.len();
    let head = format!(
        "POST /webhooks/{SHOP} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}content-length: {length}\r\n\r\n"
    );
    let stream = async {
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        Ok::<_, std::io::Error>(stream)
    };
    let stream = stream.await;
    sent.fetch_add(1, Ordering::Relaxed);
    let mut answer = String::new();
    if let Ok(mut stream) = stream {
        drop(stream.read_to_string(&mut answer).await);
    }
    answer.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0)
}

#[test]
fn a_webhook_flood_is_recorded_or_rejected() {
    Setup::default().service_down().run(async |world| {
        let process = world.process().await;
        world.pay_and_wait("ok-before-flood").await.expect(200);
        let before = process.memory_kib();
        // Nothing about orphans can be written until this ends.
        let mut held = world.database.pool.begin().await.unwrap();
        let lock = sqlx::query("LOCK TABLE orphans");
        lock.execute(&mut *held).await.unwrap();
        let sent = &AtomicUsize::new(0);
        let signer = Signer::new().unwrap();
        let basic = STANDARD.encode(format!("{SHOP}:{SECRET}"));
        let at = world.addresses().webhooks;
        // Signed before the first is sent: that takes long, and a slow sender is cut.
        let signed = (0..FLOOD.0).map(|n| {
            let filling = "x".repeat(FLOOD.1);
            let body = json!({"neither": "transaction", "n": n, "filling": filling}).to_string();
            let signature = signer.sign(SigningKey::Default, body.as_bytes()).unwrap();
            let head =
                format!("authorization: Basic {basic}\r\ncontent-signature: {signature}\r\n");
            (head, body)
        });
        let signed: Vec<(String, String)> = signed.collect();
        let flood = signed
            .iter()
            .map(|(head, body)| post(at, head, body.as_bytes(), sent));
        let all = futures_util::future::join_all(flood);
        let release = async {
            eventually("the whole flood", async || {
                (sent.load(Ordering::Relaxed) == FLOOD.0).then_some(())
            })
            .await;
            assert_eq!(world.readiness().await, Some(200));
            held.rollback().await.unwrap();
        };
        let (answers, ()) = tokio::join!(all, release);
        let count = |wanted| answers.iter().filter(|status| **status == wanted).count();
        let told = count(200) + count(503) + count(408) + count(0);
        assert_eq!(told, FLOOD.0, "{answers:?}");
        assert!(count(200) > 0, "{answers:?}");
        let kept: i64 = world.database.one("SELECT count(*) FROM orphans").await;
        assert!(usize::try_from(kept).unwrap() >= count(200), "{kept}");
        // Each body lies there a few times at most: as it came, as it is kept, on its way to the database,
        // and what the allocator has not given back yet.
        let grown = process.memory_kib().saturating_sub(before) * 1024;
        assert!(grown < 12 * FLOOD.0 * FLOOD.1, "it grew by {grown} bytes");
        others_are_served(world, "ok-after-flood").await;
    });
}

/// A webhook of no transaction, as the ledger gets it.
fn told(n: usize) -> RecordEvidence {
    let body = json!({"neither": "transaction", "n": n}).to_string();
    let sha256 = Sha256::digest(body.as_bytes()).into();
    RecordEvidence {
        target: EvidenceTarget::Snapshots,
        observation: Observation::from_gateway(
            Channel::Webhook,
            None,
            None,
            body.into_bytes(),
            sha256,
            vec![],
        ),
        lease: None,
        next_check: None,
    }
}

#[test]
fn commands_beyond_the_queue_are_rejected_at_once() {
    // More than may wait, and than one commit takes beside.
    const COMING: usize = 9_000;
    Setup::default().run(async |world| {
        let store = Store::connect_lazy(&world.database.url, 2).unwrap();
        let shop = ShopId::parse(SHOP).unwrap();
        let settings = crate::sim::replica::settings();
        let metrics = Arc::new(Metrics::new());
        let ledger = Ledger::start(store, [shop.clone()], settings, metrics);
        let mut held = world.database.pool.begin().await.unwrap();
        let lock = sqlx::query("LOCK TABLE orphans");
        lock.execute(&mut *held).await.unwrap();
        let turned_away = &AtomicUsize::new(0);
        let coming = (0..COMING).map(|n| {
            let recorded = ledger.record(&shop, told(n));
            async move {
                let recorded = recorded.await;
                if matches!(recorded, Err(LedgerError::Overloaded)) {
                    turned_away.fetch_add(1, Ordering::Relaxed);
                }
                recorded.is_ok()
            }
        });
        let all = futures_util::future::join_all(coming);
        let release = async {
            eventually("some are turned away while the rest waits", async || {
                (turned_away.load(Ordering::Relaxed) > 0).then_some(())
            })
            .await;
            held.rollback().await.unwrap();
        };
        let (kept, ()) = tokio::join!(all, release);
        let kept = kept.iter().filter(|kept| **kept).count();
        assert_eq!(kept + turned_away.load(Ordering::Relaxed), COMING);
        assert!(kept > 8_000, "{kept} were kept");
        let orphans: i64 = world.database.one("SELECT count(*) FROM orphans").await;
        assert_eq!(usize::try_from(orphans).unwrap(), kept);
        others_are_served(world, "ok-after-all").await;
    });
}
