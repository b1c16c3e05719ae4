//! Names, defaults and types are those that deployments rely on.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::{
    EventType, FollowMode, LogFormat, PayloadStyle, Scope, SettingOrigin, ShopSelection,
    SubmitsMode, WebhookSignature, warnings,
};
use super::{File, PUBLIC_KEY, minimal, no_file, only_error, parse};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The sample of the contract, every value moved off its default where it has one.
const EVERYTHING: &str = r#"
[database]
url = "postgres://app:pw@db/reconciler"
migrate_url = "postgres://owner:pw@db/reconciler"
max_connections = 17
[api]
listen = "127.0.0.1:8180"
keep_alive = "71s"
max_body = 2048
max_connections_per_peer = 257
trusted_proxies = ["10.0.0.0/8", "192.0.2.7"]
max_body_total = 2097152
[webhooks]
listen = "127.0.0.1:8181"
public_url = "https://hooks.example.com"
keep_alive = "72s"
max_body = 4096
max_connections_per_peer = 258
trusted_proxies = ["2001:db8::/32"]
max_body_total = 3145728
[ops]
listen = "127.0.0.1:9190"
keep_alive = "73s"
[security]
fingerprint_key = "0123456789abcdef0123456789abcdef"
[gateway]
base_url = "https://gateway.example.com"
reports_url = "https://online.example.com"
follow = "status"
trust_request_id = true
connect_timeout = "4s"
request_timeout = "20s"
max_connection_age = "6m"
proxy = "http://proxy.internal:3128"
no_proxy = ["gateway.internal"]
ca_file = "/etc/ca.pem"
[delivery]
proxy = "http://proxy.internal:3129"
no_proxy = ["orders.internal"]
[follow]
first_check = "150ms"
max_interval = "50s"
max_interval_old = "5h"
clock_tolerance = "3m"
absence_interval = "11m"
in_doubt_horizon = "25h"
lease = "44s"
recheck_after_final = ["2h"]
[retention]
evidence = "401d"
events = "91d"
[serve]
drain_timeout = "34s"
shutdown_delay = "7s"
[telemetry]
log = "info,reconciler::follow=debug"
format = "json"
otlp_endpoint = "https://traces.example.com/v1/traces"
[[shops]]
id = "1001"
secret_key = ["new", "old"]
submits = "paused"
public_key = ["{PUBLIC_KEY}"]
webhook_signature = "optional"
max_requests_per_second = 21
max_in_flight = 65
currency_exponents = { CVE = 0 }
[[clients]]
name = "orders"
key_sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25B"
shops = ["1001"]
scopes = ["submit", "read", "operate"]
max_requests_per_second = 200
[[clients]]
name = "finance"
key_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
shops = ["*"]
scopes = ["read"]
[[subscribers]]
name = "orders"
url = "https://orders.internal/hooks?token=t"
secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
shops = ["1001"]
events = ["transaction.updated", "discrepancy.resolved"]
allow_private = false
body = "thin"
"#;

fn everything() -> String {
    EVERYTHING.replace("{PUBLIC_KEY}", PUBLIC_KEY)
}

#[test]
fn every_key_arrives_in_its_field() {
    let config = parse(&everything());
    assert_eq!(
        config.database.url.expose(),
        "postgres://app:pw@db/reconciler"
    );
    assert_eq!(
        config.database.migrate_url().expose(),
        "postgres://owner:pw@db/reconciler"
    );
    assert_eq!(config.database.max_connections, 17);
    assert_eq!(config.api.listen.to_string(), "127.0.0.1:8180");
    assert_eq!(config.api.max_body, 2048);
    let kept = [
        config.api.keep_alive,
        config.webhooks.keep_alive,
        config.ops.keep_alive,
    ];
    assert_eq!(kept, [seconds(71), seconds(72), seconds(73)]);
    assert_eq!(config.gateway.max_connection_age, seconds(360));
    let proxy = |proxy: &gateway::Proxy| proxy.url.as_ref().map(ToString::to_string);
    let (gateway, delivery) = (&config.gateway.proxy, &config.delivery.proxy);
    assert_eq!(
        [proxy(gateway), proxy(delivery)],
        ["http://proxy.internal:3128/", "http://proxy.internal:3129/"]
            .map(|url| Some(url.to_owned()))
    );
    assert_eq!(
        (&*gateway.except[0], &*delivery.except[0]),
        ("gateway.internal", "orders.internal")
    );
    assert_eq!(
        config.gateway.ca_file.as_deref(),
        Some("/etc/ca.pem".as_ref())
    );
    assert_eq!(config.serve.shutdown_delay, seconds(7));
    assert_eq!(config.webhooks.listen.to_string(), "127.0.0.1:8181");
    assert_eq!(config.webhooks.max_body, 4096);
    for (limits, per_peer, trusted, total) in [
        (&config.api.limits, 257, "10.0.0.0/8 192.0.2.7", 2_097_152),
        (&config.webhooks.limits, 258, "2001:db8::/32", 3_145_728),
    ] {
        let shown: Vec<String> = limits
            .trusted_proxies
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(limits.max_connections_per_peer, per_peer);
        assert_eq!(shown.join(" "), trusted);
        assert_eq!(limits.max_body_total, total);
    }
    assert_eq!(config.ops.listen.to_string(), "127.0.0.1:9190");
    assert_eq!(
        config.gateway.base_url.as_str(),
        "https://gateway.example.com/"
    );
    assert_eq!(
        config.gateway.reports_url.as_str(),
        "https://online.example.com/"
    );
    assert_eq!(config.gateway.follow, FollowMode::Status);
    assert!(config.gateway.trust_request_id);
    assert_eq!(config.gateway.connect_timeout, seconds(4));
    assert_eq!(config.gateway.request_timeout, seconds(20));
    let follow = &config.follow;
    assert_eq!(follow.first_check, Duration::from_millis(150));
    assert_eq!(follow.max_interval, seconds(50));
    assert_eq!(follow.max_interval_old, seconds(5 * 3600));
    assert_eq!(follow.clock_tolerance, seconds(180));
    assert_eq!(follow.absence_interval, seconds(660));
    assert_eq!(follow.in_doubt_horizon, seconds(25 * 3600));
    assert_eq!(follow.lease, seconds(44));
    assert_eq!(follow.recheck_after_final, [seconds(7200)]);
    assert_eq!(config.retention.evidence, seconds(401 * 86_400));
    assert_eq!(config.retention.events, seconds(91 * 86_400));
    assert_eq!(config.serve.drain_timeout, seconds(34));
    assert_eq!(config.telemetry.log, "info,reconciler::follow=debug");
    assert_eq!(config.telemetry.format, LogFormat::Json);
    assert!(config.telemetry.otlp_endpoint.is_some());
}

#[test]
fn every_key_of_the_lists_arrives_in_its_field() {
    let config = parse(&everything());
    let shop = config.shop("1001").unwrap();
    let keys: Vec<&str> = shop
        .secret_key
        .iter()
        .map(|key| key.expose().as_str())
        .collect();
    assert_eq!(keys, ["new", "old"]);
    assert_eq!(shop.secret_key.current().expose(), "new");
    assert_eq!(shop.submits, SubmitsMode::Paused);
    assert_eq!(shop.public_key.len(), 1);
    assert_eq!(shop.webhook_signature, WebhookSignature::Optional);
    assert_eq!((shop.max_requests_per_second, shop.max_in_flight), (21, 65));
    assert_eq!(shop.currency_exponents.get("CVE"), Some(&0));
    let [orders, finance] = config.clients.as_slice() else {
        panic!("two clients")
    };
    assert_eq!(orders.name, "orders");
    assert_eq!(orders.key_sha256.as_bytes()[..2], [0x2b, 0xb8]);
    assert_eq!(orders.key_sha256, super::super::KeyDigest::of(b"secret"));
    assert_eq!(
        orders.scopes,
        BTreeSet::from([Scope::Submit, Scope::Read, Scope::Operate])
    );
    assert_eq!(orders.max_requests_per_second, Some(200));
    assert!(orders.shops.contains("1001") && !orders.shops.contains("1002"));
    assert_eq!(
        (&finance.shops, finance.max_requests_per_second),
        (&ShopSelection::All, None)
    );
    assert!(finance.shops.contains("1002"));
    let [subscriber] = config.subscribers.as_slice() else {
        panic!("one subscriber")
    };
    assert_eq!(
        subscriber.url.as_str(),
        "https://orders.internal/hooks?token=t"
    );
    assert_eq!(
        subscriber.secret.current().expose(),
        b"01234567890123456789012345678901"
    );
    let events = [
        EventType::TransactionUpdated,
        EventType::DiscrepancyResolved,
    ];
    assert_eq!(subscriber.events, BTreeSet::from(events));
    assert_eq!(subscriber.body, PayloadStyle::Thin);
    assert!(!subscriber.allow_private);
}

#[test]
fn a_missing_setting_has_its_default() {
    let config = parse(&minimal());
    assert_eq!(config.database.max_connections, 16);
    assert_eq!(
        config.database.migrate_url().expose(),
        "postgres://localhost/reconciler"
    );
    assert_eq!(config.api.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.api.max_body, 1_048_576);
    assert_eq!(config.webhooks.listen.to_string(), "127.0.0.1:8081");
    assert_eq!(config.webhooks.max_body, 262_144);
    for limits in [&config.api.limits, &config.webhooks.limits] {
        assert_eq!(limits.max_connections_per_peer, 256);
        assert!(limits.trusted_proxies.is_empty());
        assert_eq!(limits.max_body_total, 64 * 1_048_576);
    }
    let kept = [
        config.api.keep_alive,
        config.webhooks.keep_alive,
        config.ops.keep_alive,
    ];
    assert_eq!(kept, [seconds(75); 3]);
    assert_eq!(config.gateway.max_connection_age, seconds(300));
    assert!(config.gateway.proxy.url.is_none() && config.delivery.proxy.except.is_empty());
    assert_eq!(config.serve.shutdown_delay, seconds(5));
    assert_eq!(config.ops.listen.to_string(), "127.0.0.1:9090");
    assert_eq!(
        config.gateway.base_url.as_str(),
        "https://gateway.unonapay.com/"
    );
    assert_eq!(
        config.gateway.reports_url.as_str(),
        "https://online.unonapay.com/"
    );
    assert_eq!(config.gateway.follow, FollowMode::Result);
    assert!(!config.gateway.trust_request_id);
    assert_eq!(config.gateway.connect_timeout, seconds(5));
    assert_eq!(config.gateway.request_timeout, seconds(30));
    let follow = &config.follow;
    assert_eq!(follow.first_check, seconds(1));
    assert_eq!(follow.max_interval, seconds(60));
    assert_eq!(follow.max_interval_old, seconds(6 * 3600));
    assert_eq!(follow.clock_tolerance, seconds(120));
    assert_eq!(follow.absence_interval, seconds(600));
    assert_eq!(follow.in_doubt_horizon, seconds(86_400));
    assert_eq!(follow.lease, seconds(45));
    assert_eq!(follow.recheck_after_final, [seconds(3600), seconds(86_400)]);
    assert_eq!(config.retention.evidence, seconds(400 * 86_400));
    assert_eq!(config.retention.events, seconds(90 * 86_400));
    assert_eq!(config.serve.drain_timeout, seconds(35));
    assert_eq!(config.telemetry.log, "info");
    assert_eq!(config.telemetry.format, LogFormat::Auto);
    assert!(config.telemetry.otlp_endpoint.is_none());
    assert!(config.clients.is_empty() && config.subscribers.is_empty());
    let shop = config.shop("1001").unwrap();
    assert_eq!(shop.submits, SubmitsMode::On);
    assert_eq!(shop.webhook_signature, WebhookSignature::Required);
    assert_eq!((shop.max_requests_per_second, shop.max_in_flight), (20, 64));
    assert!(shop.currency_exponents.is_empty());
}

#[test]
fn defaults_follow_the_request_timeout() {
    let config = parse(&super::minimal_and("[gateway]\nrequest_timeout = '2m'"));
    assert_eq!(config.serve.drain_timeout, seconds(125));
    assert_eq!(config.follow.lease, seconds(135));
    let config = parse(&super::minimal_and("[gateway]\nrequest_timeout = '2s'"));
    assert_eq!(config.serve.drain_timeout, seconds(7));
    assert_eq!(config.follow.lease, seconds(45));
    assert_eq!(config.gateway.connect_timeout, seconds(2));
}

#[test]
fn the_pace_follows_a_single_setting() {
    let config = parse(&super::minimal_and("[follow]\nmax_interval = '200ms'"));
    assert_eq!(config.follow.first_check, Duration::from_millis(200));
    let config = parse(&super::minimal_and("[follow]\nmax_interval = '7h'"));
    assert_eq!(config.follow.max_interval_old, seconds(7 * 3600));
}

#[test]
fn a_missing_required_setting_is_named() {
    let errors = no_file(&[]).unwrap_err();
    let keys: Vec<&str> = errors.iter().map(|error| error.key.as_str()).collect();
    let required = [
        "database.url",
        "webhooks.public_url",
        "security.fingerprint_key",
        "shops",
    ];
    assert_eq!(keys, required);
    let text = "[[shops]]\n[[clients]]\n[[subscribers]]\n";
    let errors = super::errors(&format!("{}{text}", minimal()));
    let keys: Vec<&str> = errors
        .iter()
        .filter_map(|error| error.split(':').next())
        .collect();
    let required = [
        "shops[1].id",
        "shops[1].secret_key",
        "clients[0].name",
        "clients[0].key_sha256",
        "clients[0].shops",
        "clients[0].scopes",
        "subscribers[0].name",
        "subscribers[0].url",
        "subscribers[0].secret",
        "subscribers[0].shops",
    ];
    assert_eq!(keys, required);
    assert!(
        errors.iter().all(|error| error.contains("is missing")),
        "{errors:#?}"
    );
}

#[test]
fn the_notification_url_is_the_public_url_and_the_shop() {
    for (public, expected) in [
        (
            "https://hooks.example.com",
            "https://hooks.example.com/webhooks/1001",
        ),
        (
            "https://example.com/pay/",
            "https://example.com/pay/webhooks/1001",
        ),
        (
            "https://example.com/pay",
            "https://example.com/pay/webhooks/1001",
        ),
    ] {
        let config = parse(&super::minimal_with("https://hooks.example.com", public));
        assert_eq!(config.webhooks.notification_url("1001").as_str(), expected);
    }
}

/// The example, with something in the place of each placeholder.
fn example() -> String {
    include_str!("../../../config.example.toml")
        .replace(
            "replace-me-with-the-output-of-openssl-rand-hex-32",
            &"f".repeat(32),
        )
        .replace("replace-me-with-the-sha-256-of-a-key", &"0".repeat(64))
        .replace(
            "replace-me-with-a-whsec_",
            "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        )
        .replace("replace-me", "a-key")
}

#[test]
fn the_placeholders_of_the_example_are_refused_by_name() {
    let file = File::new(include_str!("../../../config.example.toml"));
    let errors = file.load(&[]).unwrap_err().to_string();
    for name in [
        "security.fingerprint_key",
        "shops[0].secret_key",
        "clients[0].key_sha256",
        "subscribers[0].secret",
    ] {
        let told = format!("{name}: is still the placeholder of config.example.toml");
        assert!(errors.contains(&told), "{errors}");
    }
}

#[test]
fn the_example_is_valid_once_it_is_filled_in() {
    let config = parse(&example());
    assert_eq!(config.shops.len(), 1);
    assert_eq!(warnings(&config), Vec::<String>::new());
}

/// Lines that begin with `#` and no space are settings; with them there must be no
/// setting left that the example does not show.
#[test]
fn the_example_shows_every_setting() {
    let text = example();
    let uncommented: Vec<&str> = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase()) => setting,
            _ => line,
        })
        .collect();
    let settings = File::new(&uncommented.join("\n")).explain(&[]);
    let hidden: Vec<_> = settings
        .iter()
        .filter(|it| it.origin == SettingOrigin::Default)
        .collect();
    assert!(hidden.is_empty(), "not in the example: {hidden:#?}");
    for optional in [
        "migrate_url",
        "otlp_endpoint",
        "max_requests_per_second",
        "gateway.proxy",
        "delivery.proxy",
        "ca_file",
    ] {
        assert!(
            settings.iter().any(|it| it.key.ends_with(optional)),
            "{optional}"
        );
    }
}

/// The example says that it shows the defaults.
#[test]
fn the_example_shows_the_defaults() {
    let shown = File::new(&example()).explain(&[]);
    for setting in File::new(&minimal()).explain(&[]) {
        if setting.origin == SettingOrigin::Default && setting.key != "shops[0].currency_exponents"
        {
            let example = shown.iter().find(|it| it.key == setting.key);
            assert_eq!(
                example.map(|it| &it.value),
                Some(&setting.value),
                "{}",
                setting.key
            );
        }
    }
}

#[test]
fn unknown_keys_are_named_in_full() {
    let of = |more: &str| only_error(&super::minimal_and(more));
    assert!(of("secrte_key = 'x'").starts_with(
        "shops[0].secrte_key: unknown key, known here are id, secret_key, secret_key_file, "
    ));
    assert!(of("[gateway]\nbase_ulr = 'x'").starts_with("gateway.base_ulr: unknown key"));
    assert!(
        of("[gatewya]\nbase_url = 'x'")
            .starts_with("gatewya: unknown section, known are database, ")
    );
    assert!(of("[[clinets]]\nname = 'x'").starts_with("clinets: unknown section"));
    assert!(of("[serve]\nrole = 'api'").starts_with("serve.role: unknown key"));
    let dotted = only_error(&format!("timeout = 3\n{}", minimal()));
    assert!(dotted.starts_with("timeout: unknown section"), "{dotted}");
}
