//! The danger: balancers, proxies, probes and strangers that expect of HTTP what we do not do.

use crate::world::{FakeGateway, FakeReply, KEY, SHOP, Setup, World, ack, eventually, payment};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Asks without a client of HTTP, and reads until the other side says nothing more for a moment.
fn said(stream: &mut TcpStream, head: &str) -> String {
    stream.write_all(head.as_bytes()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(read) = stream.read(&mut buffer) {
        all.extend_from_slice(&buffer[..read]);
        if read == 0 || all.windows(4).any(|part| part == b"\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn heads_are_answered_as_gets_are() {
    Setup::default().run(async |world| {
        let at = world.addresses();
        for path in ["/livez", "/readyz", "/metrics", "/version"] {
            let mut stream = TcpStream::connect(at.ops).unwrap();
            let told = said(
                &mut stream,
                &format!("HEAD {path} HTTP/1.1\r\nhost: x\r\n\r\n"),
            );
            assert!(told.starts_with("HTTP/1.1 200"), "{told}");
            assert!(told.ends_with("\r\n\r\n"), "{told}");
        }
        let mut stream = TcpStream::connect(at.api).unwrap();
        let told = said(
            &mut stream,
            "HEAD /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n",
        );
        assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    });
}

#[test]
fn an_idle_connection_is_kept_for_keep_alive() {
    let setup =
        Setup::default()
            .set("api", "keep_alive", "\"2s\"")
            .set("ops", "keep_alive", "\"75s\"");
    setup.run(async |world| {
        let at = world.addresses();
        let ask = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
        let (mut api, mut ops) = (
            TcpStream::connect(at.api).unwrap(),
            TcpStream::connect(at.ops).unwrap(),
        );
        // Whoever shows no key is not kept there.
        let with_key = format!(
            "GET /v1/shops/{SHOP}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\r\n"
        );
        said(&mut api, &with_key);
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(said(&mut api, &with_key).contains("HTTP/1.1 200"));
        said(&mut ops, ask);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!said(&mut ops, ask).is_empty());
        assert!(api.read_to_end(&mut Vec::new()).is_ok(), "it was closed");
    });
}

#[test]
fn a_wait_is_shorter_than_a_proxys_patience() {
    Setup::default().run(async |world| {
        let headers = [("prefer", "wait=60")];
        let done = world
            .post_with("payments", &headers, payment("ok-wait"))
            .await;
        assert_eq!(done.header("preference-applied"), Some("wait=55"));
    });
}

async fn hook(world: &World, path: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
    let url = world.hook_url();
    let (origin, _) = url.split_once("/webhooks/").unwrap();
    world
        .hook(&format!("{origin}{path}"), headers, body)
        .await
        .status
}

#[test]
fn unknown_webhook_paths_are_counted() {
    Setup::default().run(async |world| {
        let known = format!("/webhooks/{SHOP}/");
        assert_eq!(hook(world, &known, &[], b"{}").await, 401);
        // Nobody learns which shops there are.
        for stranger in ["/webhooks/4711", "/webhooks/4711/"] {
            assert_eq!(hook(world, stranger, &[], b"{}").await, 401);
        }
        for n in 0..5 {
            assert_eq!(hook(world, &format!("/webhook/{n}"), &[], b"{}").await, 404);
        }
        let counted = world
            .metrics()
            .await
            .sum("reconciler_webhooks_total", &[("outcome", "unknown_path")]);
        assert!((counted - 5.0).abs() < 0.1, "{counted}");
    });
}

#[test]
fn requests_to_the_gateway_go_through_the_proxy() {
    let proxy = FakeGateway::start(async |request| {
        assert!(
            request.path.starts_with("http://gateway.invalid/"),
            "{}",
            request.path
        );
        FakeReply::Json(
            422,
            json!({"errors": {"amount": ["is wrong"]}, "message": "amount"}),
        )
    });
    let setup = Setup::default()
        .gateway_by_way_of("http://gateway.invalid")
        .set("gateway", "allow_http", "true")
        .set("gateway", "proxy", &format!("\"{}\"", proxy.base()));
    setup.run(async |world| {
        world.pay("ok-proxied").await;
        let posts = proxy.seen().into_iter().filter(|one| one.method == "POST");
        assert_eq!(posts.count(), 1);
    });
}

#[test]
fn a_database_error_names_address_and_cause() {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let url = format!("postgres://postgres@{nobody}/own");
        let store = reconciler::store::Store::for_a_person(&url, 2).unwrap();
        let began = tokio::time::Instant::now();
        let told = store.ping().await.unwrap_err().chain();
        assert!(began.elapsed() < Duration::from_secs(2));
        assert!(
            told.contains(&nobody.to_string()) && told.contains("refused"),
            "{told}"
        );
    });
}

#[test]
fn a_name_that_moved_is_followed_since_no_connection_gets_old() {
    let gateway = FakeGateway::start(async |request| match request.is_submit() {
        true => {
            let origin = format!("http://{}", request.header("host").unwrap());
            FakeReply::Json(200, ack(&origin, "task-1"))
        }
        false => FakeReply::Json(425, json!({"status": "processing"})),
    });
    let setup = Setup::default()
        .gateway(&gateway)
        .set("gateway", "max_connection_age", "\"1ms\"");
    setup.run(async |world| {
        world.pay("ok-aged").await.expect(202);
        let reads = eventually("four reads", async || {
            let seen = gateway.seen().into_iter();
            let reads: Vec<u64> = seen
                .filter(|request| !request.is_submit())
                .map(|request| u64::try_from(request.place.0).unwrap())
                .collect();
            (reads.len() >= 4).then_some(reads)
        })
        .await;
        let distinct: std::collections::BTreeSet<u64> = reads.iter().copied().collect();
        assert_eq!(distinct.len(), reads.len(), "{reads:?}");
    });
}

#[test]
fn requests_are_accepted_during_shutdown_delay() {
    let setup = Setup::default()
        .set("serve", "shutdown_delay", "\"3s\"")
        .service_down();
    setup.run(async |world| {
        let mut process = world.process().await;
        world.until_ready().await;
        process.signal(rustix::process::Signal::TERM);
        eventually("readiness is withdrawn", async || {
            (world.readiness().await == Some(503)).then_some(())
        })
        .await;
        for n in 0..20 {
            world.pay(&format!("ok-leaving-{n}")).await.expect(202);
        }
        process.ended().await;
    });
}

#[test]
fn a_flood_of_forgeries_does_not_fill_the_log() {
    Setup::default().service_down().run(async |world| {
        let mut process = world.process().await;
        world.until_ready().await;
        for n in 0..50 {
            for path in [
                format!("/webhooks/{SHOP}"),
                format!("/webhooks/stranger-{n}"),
            ] {
                assert_eq!(hook(world, &path, &[], b"{}").await, 401);
            }
            assert_eq!(hook(world, "/nothing", &[], b"{}").await, 404);
        }
        process.signal(rustix::process::Signal::TERM);
        process.ended().await;
        let log = process.log();
        let lines = log.lines().filter(|line| {
            line.contains("was answered with 401") || line.contains("was answered with 404")
        });
        assert!(lines.count() < 10, "{log}");
        let counted = log.matches("under a path that it does not have").count();
        assert_eq!(counted, 1);
    });
}
