//! Rules between settings and bounds of single ones.

use super::super::{broken_promises, warnings};
use super::{PUBLIC_KEY, errors, minimal, minimal_and, minimal_with, only_error, parse};

const CLIENT: &str = r#"
[[clients]]
name = "orders"
key_sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
shops = ["1001"]
scopes = ["read"]
"#;

const SUBSCRIBER: &str = r#"
[[subscribers]]
name = "orders"
url = "https://orders.internal/hooks"
secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
shops = ["1001"]
"#;

#[test]
fn the_lease_is_longer_than_the_request_timeout() {
    let with = |lease: &str, timeout: &str| {
        minimal_and(&format!(
            "[follow]\nlease = '{lease}'\n[gateway]\nrequest_timeout = '{timeout}'"
        ))
    };
    assert_eq!(
        only_error(&with("30s", "30s")),
        "follow.lease: must be longer than gateway.request_timeout (30s), at least 30s 200ms, got 30s"
    );
    errors(&with("20s", "30s"));
    parse(&with("31s", "30s"));
    parse(&with("2s", "1500ms"));
}

#[test]
fn the_pace_does_not_contradict_itself() {
    let with = |text: &str| minimal_and(&format!("[follow]\n{text}"));
    assert_eq!(
        only_error(&with("first_check = '2s'\nmax_interval = '1s'")),
        "follow.first_check: must not be longer than follow.max_interval (1s), got 2s"
    );
    assert_eq!(
        only_error(&with("max_interval = '2s'\nmax_interval_old = '1s'")),
        "follow.max_interval_old: must not be shorter than follow.max_interval (2s), got 1s"
    );
    parse(&with(
        "first_check = '1s'\nmax_interval = '1s'\nmax_interval_old = '1s'",
    ));
}

#[test]
fn times_are_real_times() {
    for setting in [
        "lease = '0s'",
        "first_check = '0ms'",
        "recheck_after_final = ['1h', '0s']",
    ] {
        assert!(
            errors(&minimal_and(&format!("[follow]\n{setting}")))[0].contains("must be from 1ms")
        );
    }
    let error = only_error(&minimal_and("[retention]\nevidence = '1000years'"));
    assert!(
        error.starts_with("retention.evidence: must be from 1ms to "),
        "{error}"
    );
    let error = only_error(&minimal_and("[follow]\nfirst_check = 5"));
    assert_eq!(
        error,
        "follow.first_check: expected a duration such as 150ms, 30s, 24h or 400d, got 5"
    );
}

#[test]
fn listeners_do_not_share_an_address() {
    let error = only_error(&minimal_and("[ops]\nlisten = '127.0.0.1:8081'"));
    assert_eq!(
        error,
        "ops.listen: 127.0.0.1:8081 is webhooks.listen already"
    );
    parse(&minimal_and(
        "[ops]\nlisten = '127.0.0.1:0'\n[api]\nlisten = '127.0.0.1:0'",
    ));
}

#[test]
fn plain_http_needs_loopback_or_allow_http() {
    let loopback = [
        "http://localhost:1",
        "http://127.0.0.1:1",
        "http://127.9.9.9",
        "http://[::1]:1/x",
    ];
    for url in loopback {
        parse(&minimal_and(&format!(
            "[gateway]\nbase_url = '{url}'\nreports_url = '{url}'"
        )));
        parse(&minimal_with("https://hooks.example.com", url));
        parse(&minimal_and(
            &SUBSCRIBER.replace("https://orders.internal", url),
        ));
    }
    for url in [
        "http://10.0.0.1",
        "http://localhost.example.com",
        "http://128.0.0.1",
        "http://0.0.0.0",
    ] {
        let gateway = format!("[gateway]\nbase_url = '{url}'\n");
        assert_eq!(
            only_error(&minimal_and(&gateway)),
            "gateway.base_url: plain http is accepted for loopback addresses, for others set gateway.allow_http = true"
        );
        parse(&minimal_and(&format!("{gateway}allow_http = true")));
        let reports = gateway.replace("base_url", "reports_url");
        assert!(only_error(&minimal_and(&reports)).starts_with("gateway.reports_url: plain http"));

        let webhooks = minimal_with("https://hooks.example.com", url);
        assert!(only_error(&webhooks).contains("set webhooks.allow_http = true"));
        parse(&webhooks.replace("[webhooks]", "[webhooks]\nallow_http = true"));
        // Allowed in one section is not allowed in another.
        errors(&format!("{webhooks}\n[gateway]\nallow_http = true\n"));

        let subscriber = SUBSCRIBER.replace("https://orders.internal", url);
        assert!(
            only_error(&minimal_and(&subscriber)).contains("set subscribers[0].allow_http = true")
        );
        parse(&minimal_and(&format!("{subscriber}allow_http = true")));
    }
}

#[test]
fn addresses_are_addresses() {
    for (url, expected) in [
        (
            "gateway.example.com",
            "expected an absolute url such as https://host/path, got other text",
        ),
        ("ftp://gateway.example.com", "expected an https:// address"),
        (
            "https://user@gateway.example.com",
            "a name or password in the address is not accepted",
        ),
        (
            "https://gateway.example.com/#x",
            "a fragment (#…) in the address is not accepted",
        ),
        (
            "https://gateway.example.com/?x",
            "a query (?…) in the address is not accepted",
        ),
    ] {
        let text = minimal_and(&format!("[gateway]\nbase_url = '{url}'"));
        assert_eq!(
            only_error(&text),
            format!("gateway.base_url: {expected}"),
            "{url}"
        );
    }
    let text = minimal_with("postgres://localhost/reconciler", "mysql://localhost/x");
    assert!(only_error(&text).starts_with("database.url: expected an address such as postgres://"));
    parse(&minimal_with(
        "postgres://localhost/reconciler",
        "postgres://postgres@localhost/x?host=/tmp/pg",
    ));
    parse(&minimal_with(
        "postgres://localhost/reconciler",
        "postgresql:///x?host=/tmp/pg",
    ));
}

#[test]
fn shop_ids_are_plain() {
    for id in ["a", "1001", "A-b_9", &"x".repeat(64)] {
        parse(&minimal_with("id = \"1001\"", &format!("id = \"{id}\"")));
    }
    for id in ["", "a b", "a/b", "a.b", "é", "~", &"x".repeat(65)] {
        let error = only_error(&minimal_with("id = \"1001\"", &format!("id = \"{id}\"")));
        assert!(
            error.starts_with("shops[0].id: expected 1 to 64 characters of A-Z"),
            "{error}"
        );
    }
}

#[test]
fn ids_names_and_keys_are_distinct() {
    let text = minimal();
    let (_, shop) = text.split_once("[[shops]]").unwrap();
    let error = only_error(&minimal_and(&format!("[[shops]]{shop}")));
    assert_eq!(
        error,
        "shops[1].id: must be distinct, shops[0] has the same"
    );
    let found = errors(&minimal_and(&format!("{CLIENT}{CLIENT}")));
    assert_eq!(
        found,
        [
            "clients[1].name: must be distinct, clients[0] has the same",
            "clients[1].key_sha256: must be distinct, clients[0] has the same",
        ]
    );
    let error = only_error(&minimal_and(&format!("{SUBSCRIBER}{SUBSCRIBER}")));
    assert_eq!(
        error,
        "subscribers[1].name: must be distinct, subscribers[0] has the same"
    );
}

#[test]
fn clients_and_subscribers_name_shops_that_exist() {
    let client = CLIENT.replace("1001", "1002");
    let subscriber = SUBSCRIBER.replace("[\"1001\"]", "[\"1001\", \"1003\"]");
    assert_eq!(
        errors(&minimal_and(&format!("{client}{subscriber}"))),
        [
            "clients[0].shops: no shop has the id \"1002\", known are 1001",
            "subscribers[0].shops: no shop has the id \"1003\", known are 1001",
        ]
    );
    parse(&minimal_and(&CLIENT.replace("1001", "*")));
}

#[test]
fn clients_can_do_something_that_exists() {
    let error = only_error(&minimal_and(
        &CLIENT.replace("\"read\"", "\"read\", \"write\""),
    ));
    assert_eq!(
        error,
        "clients[0].scopes: item 2: expected submit or read or operate, got \"write\""
    );
    let error = only_error(&minimal_and(&CLIENT.replace("[\"read\"]", "[]")));
    assert!(
        error.starts_with("clients[0].scopes: expected a list of submit or read"),
        "{error}"
    );
    let error = only_error(&minimal_and(&CLIENT.replace("[\"1001\"]", "[]")));
    assert!(
        error.starts_with("clients[0].shops: expected a list of shop ids"),
        "{error}"
    );
    let error = only_error(&minimal_and(&format!(
        "{CLIENT}max_requests_per_second = 0"
    )));
    assert_eq!(
        error,
        "clients[0].max_requests_per_second: must be from 1 to 1000000, got 0"
    );
}

#[test]
fn subscribers_hear_of_events_that_exist() {
    let error = only_error(&minimal_and(&format!(
        "{SUBSCRIBER}events = ['transaction.done']"
    )));
    assert!(error.starts_with("subscribers[0].events: item 1: expected transaction.updated or"));
    assert!(error.ends_with("got \"transaction.done\""), "{error}");
    errors(&minimal_and(&format!("{SUBSCRIBER}events = []")));
}

/// Without a key nothing is accepted, which costs time and no truth.
#[test]
fn a_shop_without_a_public_key_is_a_warning() {
    let text = minimal();
    let (without, _) = text.split_once("public_key").unwrap();
    let found = warnings(&parse(&format!("{without}{CLIENT}")));
    assert_eq!(
        found,
        ["shop 1001 has no public_key: every webhook of it will be refused"]
    );
    let found = warnings(&parse(&format!(
        "{without}webhook_signature = 'optional'{CLIENT}"
    )));
    assert_eq!(found, ["shop 1001 takes unsigned webhooks as hints"]);
}

/// A webhook's signature is all that tells for which shop it was written.
#[test]
fn many_shops_are_named_by_the_first_few() {
    let of = |count| super::super::named_shops(&["1", "2", "3", "4", "5", "6", "7"][..count]);
    assert_eq!(of(1), "shop 1");
    assert_eq!(of(2), "shops 1 and 2");
    assert_eq!(of(3), "shops 1, 2 and 3");
    assert_eq!(of(7), "shops 1, 2, 3, 4, 5 and 2 more");
}

#[test]
fn the_same_public_key_at_two_shops_is_no_promise_kept() {
    let shop = |id: &str, key: &str| {
        format!("[[shops]]\nid = \"{id}\"\nsecret_key = \"s{id}\"\npublic_key = {key}\n")
    };
    let same = minimal_and(&shop("1004", &format!("[\"{PUBLIC_KEY}\"]")));
    let broken = broken_promises(&parse(&same));
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert!(
        broken[0].contains("1001") && broken[0].contains("1004"),
        "{broken:?}"
    );
    assert!(warnings(&parse(&same)).contains(&broken[0]));
    let none = minimal_and("[[shops]]\nid = \"1004\"\nsecret_key = \"s\"\n");
    assert!(broken_promises(&parse(&none)).is_empty());
    // One shop may have a key twice.
    let twice = minimal_with(
        &format!("public_key = \"{PUBLIC_KEY}\""),
        &format!("public_key = [\"{PUBLIC_KEY}\", \"{PUBLIC_KEY}\"]"),
    );
    assert!(broken_promises(&parse(&twice)).is_empty());
}

#[test]
fn limits_have_bounds() {
    for (text, expected) in [
        (
            "max_requests_per_second = 0",
            "shops[0].max_requests_per_second: must be from 1 to 100000, got 0",
        ),
        (
            "max_requests_per_second = -1",
            "shops[0].max_requests_per_second: expected an integer from 0 to 4294967295, got -1",
        ),
        (
            "max_in_flight = 0",
            "shops[0].max_in_flight: must be from 1 to 100000, got 0",
        ),
        (
            "currency_exponents = { CVE = 5 }",
            "shops[0].currency_exponents: CVE must be from 0 to 4, got 5",
        ),
        (
            "currency_exponents = { cve = 0 }",
            "shops[0].currency_exponents: expected currency codes of three capital letters, got \"cve\"",
        ),
        (
            "currency_exponents = { CVE = 'x' }",
            "shops[0].currency_exponents: expected a table from currency code to exponent, such as { CVE = 0 }, got a table",
        ),
        (
            "[telemetry]\nlog = 'reconciler=loud'",
            "telemetry.log: expected a log filter",
        ),
    ] {
        let error = only_error(&minimal_and(text));
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn errors_come_all_at_once() {
    let text = minimal()
        .replace("https://hooks.example.com", "hooks")
        .replace("0123456789abcdef0123456789abcdef", "short")
        .replace("id = \"1001\"", "id = \"\"");
    let found = errors(&format!(
        "{text}typo = 1\n[follow]\nlease = 'long'\n[api]\nlisten = 'x'\n"
    ));
    let keys: Vec<&str> = found
        .iter()
        .filter_map(|error| error.split(':').next())
        .collect();
    let expected = [
        "api.listen",
        "webhooks.public_url",
        "security.fingerprint_key",
        "follow.lease",
        "shops[0].id",
        "shops[0].typo",
    ];
    assert_eq!(keys, expected);
}

/// A value that could not be read makes no second error by what stands in for it.
#[test]
fn one_mistake_is_one_error() {
    let text = "[gateway]\nrequest_timeout = 'x'\n[follow]\nlease = '20s'\n";
    assert!(only_error(&minimal_and(text)).starts_with("gateway.request_timeout"));
    let text = "[gateway]\nallow_http = 'x'\nbase_url = 'http://gateway.example'\n";
    assert!(only_error(&minimal_and(text)).starts_with("gateway.allow_http"));
    let text = minimal_with("id = \"1001\"", "id = \"a b\"");
    assert!(only_error(&format!("{text}{CLIENT}")).starts_with("shops[0].id"));
}

#[test]
fn an_unwise_setting_is_a_warning() {
    assert_eq!(warnings(&parse(&minimal_and(CLIENT))), Vec::<String>::new());
    let unwise = "webhook_signature = 'optional'\n\
        [gateway]\nbase_url = 'http://gateway.example'\nallow_http = true\n\
        trust_request_id = true\nconnect_timeout = '1m'\n\
        [follow]\nin_doubt_horizon = '1h'\n[serve]\ndrain_timeout = '1s'\n";
    let found = warnings(&parse(&minimal_and(unwise)));
    for part in [
        "trust_request_id",
        "connect_timeout",
        "in_doubt_horizon",
        "drain_timeout",
        "gateway.base_url is plain http",
        "shop 1001 takes unsigned",
        "no [[clients]]",
    ] {
        assert_eq!(
            found.iter().filter(|text| text.contains(part)).count(),
            1,
            "{part}: {found:?}"
        );
    }
}

#[test]
fn listener_limits_are_checked() {
    let with = |text: &str| minimal_and(&format!("[api]\n{text}"));
    for (text, error) in [
        (
            "max_connections_per_peer = 0",
            "api.max_connections_per_peer: must be from 1 to 1000000, got 0",
        ),
        (
            "trusted_proxies = ['10.0.0.0/8', '10.0.0.1/8']",
            "api.trusted_proxies: item 2: expected an ip address or a network such as 10.0.0.0/8 or \
             2001:db8::/32, with no bit set behind the prefix, got \"10.0.0.1/8\"",
        ),
        (
            "trusted_proxies = ['0.0.0.0/0']",
            "api.trusted_proxies: 0.0.0.0/0 trusts everybody; name the proxies' own addresses",
        ),
        (
            "max_body_total = 2000000",
            "api.max_body_total: must be at least 2097152, twice max_body (1048576), got 2000000",
        ),
    ] {
        assert_eq!(only_error(&with(text)), error);
    }
    let large = parse(&with("max_body = 67108864"));
    assert_eq!(large.api.limits.max_body_total, 2 * 67_108_864);
}
