//! The danger: a key that has leaked goes on working until somebody dares to restart; or a mistake in
//! a file takes the keys away that worked.

use crate::subscribers::{OTHER_SECRET, SECRET as SIGNING, entry, hearing, receiver, until_told};
use crate::webhooks::{to, untold};
use crate::world::{
    FakeGateway, FakeReply, KEY, Process, Request, SECRET, SHOP, Setup, World, ack, eventually,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reconciler::config::KeyDigest;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::Path;
use twin::SigningKey;

const NEW_KEY: &str = "key-of-orders-from-now-on";
const NEW_SECRET: &str = "secret-of-1001-from-now-on";

fn basic(secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{SHOP}:{secret}")))
}

/// The entry of a client with all scopes.
fn client(name: &str, key: &str) -> String {
    let digest = KeyDigest::of(key.as_bytes());
    let hex: String = digest
        .as_bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!(
        "[[clients]]\nname = \"{name}\"\nkey_sha256 = \"{hex}\"\nshops = [\"*\"]\nscopes = [\"submit\", \"read\"]\n"
    )
}

/// A text with one piece of it replaced.
fn with(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from} in\n{text}");
    text.replace(from, to)
}

async fn reads(world: &World, key: &str) -> u16 {
    world.with_key(key).get("events").await.status
}

/// A gateway that takes every submit and never gets done with one.
fn busy_gateway() -> FakeGateway {
    FakeGateway::start(|request: Request| async move {
        if !request.is_submit() {
            return FakeReply::Json(425, json!({"status": "processing"}));
        }
        let name = request.json()["request"]["tracking_id"].clone();
        let task = format!("task-{}", name.as_str().unwrap_or_default());
        FakeReply::Json(200, ack("http://127.0.0.1:1", &task))
    })
}

/// The credentials of the submit of a payment that is made now.
async fn credentials_of(world: &World, fake: &FakeGateway, tracking_id: &str) -> String {
    let before = fake.submits().len();
    world.pay(tracking_id).await.expect(202);
    let submit = eventually("the submit", async || fake.submits().get(before).cloned()).await;
    submit.header("authorization").unwrap().to_owned()
}

#[test]
fn an_api_key_is_changed_without_a_restart() {
    Setup::default().service_down().run(async |world| {
        let process = world.process().await;
        let text = world.config_text(&world.addresses());
        assert_eq!(
            (reads(world, KEY).await, reads(world, NEW_KEY).await),
            (200, 401)
        );
        process
            .reload(&format!("{text}{}", client("next", NEW_KEY)))
            .await;
        assert_eq!(
            (reads(world, KEY).await, reads(world, NEW_KEY).await),
            (200, 200)
        );
        // Removed: what it opened ends too.
        let url = world.url(&world.path("events"));
        let http = reqwest::Client::builder().build().unwrap();
        let opened = http
            .get(url)
            .bearer_auth(KEY)
            .header("accept", "text/event-stream");
        #[expect(clippy::disallowed_methods, reason = "the tests' own client")]
        let stream = opened.send().await.unwrap();
        assert_eq!(stream.status(), 200);
        let (before, _) = text.split_once("[[clients]]").unwrap();
        process
            .reload(&format!("{before}{}", client("next", NEW_KEY)))
            .await;
        assert_eq!(
            (reads(world, KEY).await, reads(world, NEW_KEY).await),
            (401, 200)
        );
        assert!(stream.text().await.unwrap().starts_with("retry:"));
        // What a key may do is taken over as well.
        let narrower = client("next", NEW_KEY).replace("\"read\"", "\"operate\"");
        process.reload(&format!("{before}{narrower}")).await;
        assert_eq!(reads(world, NEW_KEY).await, 403);
        let log = process.log();
        assert!(log.contains("clients.orders"), "{log}");
    });
}

#[test]
fn a_shops_keys_for_webhooks_are_changed_without_a_restart() {
    Setup::default().quiet().service_down().run(async |world| {
        let process = world.process().await;
        let uid = untold(world, "ok-rotated").await;
        let text = world.config_text(&world.addresses());
        let (old, new) = (SigningKey::Default.public(), SigningKey::Rotated.public());
        let send = async |signature: &str, secret: &str| {
            let how = json!({"signature": signature, "headers": {"Authorization": basic(secret)}});
            world.twin().send_webhook(to(world, &uid, how)).await[0]
        };
        let statuses = async || {
            [
                send("good", SECRET).await,
                send("other_key", SECRET).await,
                send("good", NEW_SECRET).await,
                send("other_key", NEW_SECRET).await,
            ]
        };
        assert_eq!(statuses().await, [200, 401, 401, 401]);
        let both = with(
            &text,
            &format!("\"{SECRET}\""),
            &format!("[\"{SECRET}\", \"{NEW_SECRET}\"]"),
        );
        let both = with(
            &both,
            &format!("\"{old}\""),
            &format!("[\"{old}\", \"{new}\"]"),
        );
        process.reload(&both).await;
        assert_eq!(statuses().await, [200, 200, 200, 200]);
        let after = with(&with(&text, SECRET, NEW_SECRET), old, new);
        process.reload(&after).await;
        assert_eq!(statuses().await, [401, 401, 401, 200]);
        let log = process.log();
        assert!(
            log.contains("shops.1001.public_key, shops.1001.secret_key"),
            "{log}"
        );
        assert!(!log.contains(SECRET) && !log.contains(NEW_SECRET), "{log}");
    });
}

#[test]
fn a_changed_secret_is_sent_to_the_gateway() {
    let fake = busy_gateway();
    Setup::default()
        .gateway(&fake)
        .service_down()
        .run(async |world| {
            let process = world.process().await;
            let text = world.config_text(&world.addresses());
            assert_eq!(
                credentials_of(world, &fake, "rotate-1").await,
                basic(SECRET)
            );
            let old = format!("\"{SECRET}\"");
            // The second is accepted and not used.
            let second = with(&text, &old, &format!("[\"{SECRET}\", \"{NEW_SECRET}\"]"));
            process.reload(&second).await;
            assert_eq!(
                credentials_of(world, &fake, "rotate-2").await,
                basic(SECRET)
            );
            let first = with(&text, &old, &format!("[\"{NEW_SECRET}\", \"{SECRET}\"]"));
            process.reload(&first).await;
            assert_eq!(
                credentials_of(world, &fake, "rotate-3").await,
                basic(NEW_SECRET)
            );
            // Reads too, of what was sent under the old one.
            let seen = fake.seen().len();
            let asks_with_new = |request: &Request| {
                request.path.contains("rotate-1")
                    && request.header("authorization") == Some(&*basic(NEW_SECRET))
            };
            eventually("a look with the new key", async || {
                fake.seen()[seen..].iter().any(asks_with_new).then_some(())
            })
            .await;
        });
}

#[test]
fn a_subscribers_secret_is_changed_without_a_restart() {
    use crate::subscribers::verified;
    let neighbour = receiver(|_| 204);
    hearing(&neighbour).service_down().run(async |world| {
        let process = world.process().await;
        let text = world.config_text(&world.addresses());
        let fits = async |name: &str| {
            world.pay_and_wait(name).await.expect(200);
            let told = until_told(&neighbour, name).await;
            (verified(&told, SIGNING), verified(&told, OTHER_SECRET))
        };
        assert_eq!(fits("ok-told-1").await, (true, false));
        let old = format!("\"{SIGNING}\"");
        process
            .reload(&with(&text, &old, &format!("[\"{OTHER_SECRET}\", {old}]")))
            .await;
        assert_eq!(fits("ok-told-2").await, (true, true));
        process.reload(&with(&text, SIGNING, OTHER_SECRET)).await;
        assert_eq!(fits("ok-told-3").await, (false, true));
    });
}

/// Has a file read that cannot be used, and looks whether everything is as before.
async fn changes_nothing(world: &World, process: &Process, bad: &str) {
    process.reload(bad).await;
    assert_eq!(
        (reads(world, KEY).await, reads(world, NEW_KEY).await),
        (200, 401)
    );
    let log = process.log();
    let last = log.lines().rfind(|line| line.contains("SIGHUP")).unwrap();
    let told: Value = serde_json::from_str(last).unwrap();
    assert_eq!(told["level"], "ERROR", "{told}");
    assert!(last.contains("nothing was changed"), "{told}");
}

#[test]
fn an_invalid_file_changes_nothing_and_is_logged() {
    Setup::default().service_down().run(async |world| {
        let process = world.process().await;
        let text = world.config_text(&world.addresses());
        let more = format!("{text}{}", client("next", NEW_KEY));
        // No TOML, a mistake in a section that is not taken over, a half of a file, none at all.
        changes_nothing(
            world,
            &process,
            &format!("{more}\nsecret = canary-in-a-file"),
        )
        .await;
        let mistaken = with(&more, "first_check = \"50ms\"", "first_check = \"soon\"");
        changes_nothing(world, &process, &mistaken).await;
        assert!(process.log().contains("follow.first_check"));
        changes_nothing(
            world,
            &process,
            &format!("{text}[[clients]]\nname = \"next\"\n"),
        )
        .await;
        changes_nothing(world, &process, "").await;
        process.reload(&more).await;
        assert_eq!(
            (reads(world, KEY).await, reads(world, NEW_KEY).await),
            (200, 200)
        );
        let log = process.log();
        assert!(
            !log.contains("canary-in-a-file") && !log.contains(SECRET),
            "{log}"
        );
    });
}

#[test]
fn a_fingerprint_key_that_is_still_needed_cannot_be_dropped() {
    Setup::default().service_down().run(async |world| {
        let process = world.process().await;
        world.pay_and_wait("ok-sealed").await.expect(200);
        let text = world.config_text(&world.addresses());
        let (old, new) = ("f".repeat(32), "g".repeat(32));
        let both = with(
            &text,
            &format!("\"{old}\""),
            &format!("[\"{new}\", \"{old}\"]"),
        );
        let dropped = with(&text, &old, &new);
        process.reload(&dropped).await;
        let refused = |log: &str| log.contains("fingerprint_key");
        assert!(refused(&process.log()), "{}", process.log());
        process.reload(&both).await;
        // What was posted under the old key is the same request under the new one.
        let again = world.pay("ok-sealed").await.expect(200);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        drop(process);
        // A start without it is refused as well, and says which key is missing.
        let mut other = crate::world::Process::start(&dropped, &world.addresses());
        let ended = other.ended().await;
        assert!(!ended.success() && refused(&other.log()), "{}", other.log());
    });
}

#[test]
fn a_shop_with_open_transactions_cannot_be_removed() {
    Setup::default().quiet().service_down().run(async |world| {
        let process = world.process().await;
        world.pay("never-removed").await.expect(202);
        let text = world.config_text(&world.addresses());
        let shop = format!("id = \"{SHOP}\"\n");
        let removed = text.replace(&shop, "id = \"another\"\n");
        let removed = removed.replace(&format!("\"{SHOP}\""), "\"another\"");
        process.reload(&removed).await;
        let refused = |log: &str| log.contains(&format!("shop {SHOP} is missing"));
        assert!(refused(&process.log()), "{}", process.log());
        drop(process);
        let mut other = Process::start(&removed, &world.addresses());
        let ended = other.ended().await;
        assert!(!ended.success() && refused(&other.log()), "{}", other.log());
        // Switched off, it is followed to its end and takes nothing new.
        let off = with(&text, &shop, &format!("{shop}submits = \"off\"\n"));
        let process = Process::start(&off, &world.addresses());
        world.merchant().until_ready().await;
        world
            .pay("never-new")
            .await
            .expect_problem(503, "unavailable");
        assert_eq!(world.twin().posts("never-new").await, 0);
        assert_eq!(world.status("never-removed").await["final"], false);
        world
            .resolve("never-removed", "failed", "it is over")
            .await
            .expect(200);
        drop(process);
        let process = Process::start(&removed, &world.addresses());
        world.merchant().until_ready().await;
        drop(process);
    });
}

#[test]
fn changed_settings_that_need_a_restart_are_logged() {
    let neighbour = receiver(|_| 204);
    hearing(&neighbour).service_down().run(async |world| {
        let process = world.process().await;
        let text = world.config_text(&world.addresses());
        let other = with(
            &text,
            "max_requests_per_second = 10000",
            "max_requests_per_second = 1",
        );
        let other = with(&other, "postgres://", "postgres://nobody:canary@");
        let other = with(&other, "[serve]\n", "[serve]\n#\n").replace("\"10s\"", "\"9s\"");
        let more = entry("late", &neighbour, "");
        process
            .reload(&format!(
                "{other}[[subscribers]]\n{more}{}",
                client("next", NEW_KEY)
            ))
            .await;
        // The keys of the same file are in use.
        assert_eq!(reads(world, NEW_KEY).await, 200);
        let named = "\"keys\":\"database.url, serve.drain_timeout, \
             shops.1001.max_requests_per_second, subscribers.late\"";
        eventually("what waits is named", async || {
            process.log().contains(named).then_some(())
        })
        .await;
        assert!(!process.log().contains("canary"));
        world.pay_and_wait("ok-as-before").await.expect(200);
    });
}

/// Exchanges a directory as Kubernetes does it where it mounts a Secret: a link to a directory of the
/// new files takes the place of the old one.
fn exchange(mount: &Path, version: &str, secret: &str) {
    let files = mount.join(version);
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("key"), secret).unwrap();
    std::os::unix::fs::symlink(version, mount.join("..new")).unwrap();
    std::fs::rename(mount.join("..new"), mount.join("..data")).unwrap();
}

#[test]
fn a_changed_secret_file_is_reloaded() {
    let fake = busy_gateway();
    let mount = tempfile::tempdir().unwrap();
    exchange(mount.path(), "1", SECRET);
    let key = mount.path().join("key");
    std::os::unix::fs::symlink("..data/key", &key).unwrap();
    Setup::default()
        .gateway(&fake)
        .service_down()
        .run(async |world| {
            let text = world.config_text(&world.addresses());
            let from = format!("secret_key = \"{SECRET}\"");
            let text = with(&text, &from, &format!("secret_key_file = {key:?}"));
            let process = Process::start(&text, &world.addresses());
            world.until_ready().await;
            assert_eq!(credentials_of(world, &fake, "mount-1").await, basic(SECRET));
            // An empty file is a mistake, and one that is mended later.
            exchange(mount.path(), "2", "");
            eventually("the mistake is told", async || {
                process.log().contains("nothing was changed").then_some(())
            })
            .await;
            assert_eq!(credentials_of(world, &fake, "mount-2").await, basic(SECRET));
            exchange(mount.path(), "3", NEW_SECRET);
            eventually("the new key is in use", async || {
                process
                    .log()
                    .contains("shops.1001.secret_key")
                    .then_some(())
            })
            .await;
            assert_eq!(
                credentials_of(world, &fake, "mount-3").await,
                basic(NEW_SECRET)
            );
            // Told once, however often it was looked at.
            assert_eq!(process.log().matches("nothing was changed").count(), 1);
            let mut process = process;
            process.signal(Signal::TERM);
            assert!(process.ended().await.success());
        });
}
