//! Each value can be overridden from the environment, whatever its type.

use std::time::Duration;

use super::super::{FollowMode, Scope, SettingOrigin, ShopSelection};
use super::{
    File, PUBLIC_KEY, errors_with_env, minimal, minimal_and, no_file, only, only_error, with_env,
};

fn clients() -> String {
    minimal_and(
        r#"
[[clients]]
name = "orders-api"
key_sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
shops = ["1001"]
scopes = ["read"]
"#,
    )
}

#[test]
fn every_type_can_be_written_as_text() {
    let config = with_env(
        &minimal(),
        &[
            ("RECONCILER__DATABASE__MAX_CONNECTIONS", "7"),
            ("RECONCILER__GATEWAY__TRUST_REQUEST_ID", "true"),
            ("RECONCILER__GATEWAY__REQUEST_TIMEOUT", "1500ms"),
            ("RECONCILER__GATEWAY__BASE_URL", "https://other.example.com"),
            ("RECONCILER__GATEWAY__FOLLOW", "status"),
            ("RECONCILER__API__LISTEN", "0.0.0.0:80"),
            ("RECONCILER__FOLLOW__RECHECK_AFTER_FINAL", "1m, 2m"),
            (
                "RECONCILER__SHOPS__1001__CURRENCY_EXPONENTS",
                "CVE=0, XAF=2",
            ),
        ],
    );
    assert_eq!(config.database.max_connections, 7);
    assert!(config.gateway.trust_request_id);
    assert_eq!(config.gateway.request_timeout, Duration::from_millis(1500));
    assert_eq!(
        config.gateway.base_url.as_str(),
        "https://other.example.com/"
    );
    assert_eq!(config.gateway.follow, FollowMode::Status);
    assert_eq!(config.api.listen.to_string(), "0.0.0.0:80");
    let minutes = [Duration::from_secs(60), Duration::from_secs(120)];
    assert_eq!(config.follow.recheck_after_final, minutes);
    assert_eq!(config.shops[0].currency_exponents.get("XAF"), Some(&2));
}

#[test]
fn text_that_looks_like_a_number_stays_text() {
    let env = [
        ("RECONCILER__SHOPS__0__ID", "2002"),
        ("RECONCILER__SHOPS__0__SECRET_KEY", "123"),
    ];
    let config = with_env(&minimal(), &env);
    assert_eq!(config.shops[0].id, "2002");
    assert_eq!(config.shops[0].secret_key.current().expose(), "123");
}

#[test]
fn lists_are_toml_arrays_or_separated_by_commas() {
    for scopes in ["submit,read", " submit , read ", r#"["submit", "read"]"#] {
        let config = with_env(&clients(), &[("RECONCILER__CLIENTS__0__SCOPES", scopes)]);
        assert!(
            config.clients[0]
                .scopes
                .iter()
                .eq(&[Scope::Submit, Scope::Read]),
            "{scopes}"
        );
    }
    for shops in ["1001", "[1001]", r#"["1001"]"#] {
        let config = with_env(&clients(), &[("RECONCILER__CLIENTS__0__SHOPS", shops)]);
        assert!(config.clients[0].shops.contains("1001"), "{shops}");
    }
    let config = with_env(&clients(), &[("RECONCILER__CLIENTS__0__SHOPS", "*")]);
    assert_eq!(config.clients[0].shops, ShopSelection::All);
    let config = with_env(
        &minimal(),
        &[("RECONCILER__FOLLOW__RECHECK_AFTER_FINAL", "")],
    );
    assert!(config.follow.recheck_after_final.is_empty());
}

#[test]
fn entries_of_lists_are_found_by_id_name_or_index() {
    for variable in [
        "RECONCILER__SHOPS__1001__SUBMITS",
        "RECONCILER__SHOPS__0__SUBMITS",
    ] {
        let config = with_env(&minimal(), &[(variable, "paused")]);
        assert_eq!(config.shops[0].submits.as_str(), "paused", "{variable}");
        assert_eq!(config.shops.len(), 1);
    }
    for name in ["ORDERS_API", "orders_api", "orders-api", "0"] {
        let variable = format!("RECONCILER__CLIENTS__{name}__MAX_REQUESTS_PER_SECOND");
        let config = with_env(&clients(), &[(&variable, "5")]);
        assert_eq!(
            config.clients[0].max_requests_per_second,
            Some(5),
            "{variable}"
        );
    }
    // An id wins over an index, and may contain two underscores.
    let text = minimal().replace("1001", "a__0");
    let config = with_env(&text, &[("RECONCILER__SHOPS__a__0__SUBMITS", "paused")]);
    assert_eq!(config.shops[0].submits.as_str(), "paused");
}

#[test]
fn ambiguous_variable_names_are_rejected() {
    let second = clients()
        .replace(
            "[[clients]]\nname = \"orders-api\"",
            "[[clients]]\nname = \"orders_api\"",
        )
        .replace("2bb8", "3bb8");
    let both = format!(
        "{}{}",
        clients(),
        second.split_once("[[clients]]").unwrap().1
    )
    .replacen(
        "scopes = [\"read\"]\n\n",
        "scopes = [\"read\"]\n[[clients]]\n",
        1,
    );
    let env = [("RECONCILER__CLIENTS__ORDERS_API__SCOPES", "read")];
    let error = only(errors_with_env(&both, &env));
    assert!(
        error.starts_with(
            "clients[ORDERS_API] (from RECONCILER__CLIENTS__ORDERS_API__SCOPES): several entries"
        ),
        "{error}"
    );
}

#[test]
fn one_entry_of_a_table_can_be_set() {
    let text = minimal_and("currency_exponents = { XAF = 2 }");
    let env = [("RECONCILER__SHOPS__1001__CURRENCY_EXPONENTS__CVE", "0")];
    let config = with_env(&text, &env);
    let exponents: Vec<_> = config.shops[0].currency_exponents.iter().collect();
    assert_eq!(
        exponents,
        [(&"CVE".to_owned(), &0), (&"XAF".to_owned(), &2)]
    );
}

#[test]
fn everything_can_come_from_the_environment() {
    let config = no_file(&[
        ("DATABASE_URL", "postgres://localhost/x"),
        (
            "RECONCILER__WEBHOOKS__PUBLIC_URL",
            "https://hooks.example.com",
        ),
        (
            "RECONCILER__SECURITY__FINGERPRINT_KEY",
            "0123456789abcdef0123456789abcdef",
        ),
        ("RECONCILER__SHOPS__1001__SECRET_KEY", "s"),
        ("RECONCILER__SHOPS__1001__PUBLIC_KEY", PUBLIC_KEY),
        ("RECONCILER__CLIENTS__ORDERS__KEY_SHA256", &"0".repeat(64)),
        ("RECONCILER__CLIENTS__ORDERS__SHOPS", "1001"),
        ("RECONCILER__CLIENTS__ORDERS__SCOPES", "read"),
        ("RECONCILER__SUBSCRIBERS__0__NAME", "Hooks"),
        ("RECONCILER__SUBSCRIBERS__0__URL", "http://127.0.0.1:9/hook"),
        (
            "RECONCILER__SUBSCRIBERS__0__SECRET",
            "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
        ),
        ("RECONCILER__SUBSCRIBERS__0__SHOPS", "*"),
    ])
    .unwrap();
    assert_eq!(config.shops[0].id, "1001");
    assert_eq!(config.clients[0].name, "orders");
    assert_eq!(config.subscribers[0].name, "Hooks");
}

#[test]
fn a_whole_list_can_be_written_as_toml() {
    let shops = format!(
        r#"[{{ id = "7", secret_key = "s", public_key = "{PUBLIC_KEY}", max_in_flight = 3 }}]"#
    );
    let config = with_env(&minimal(), &[("RECONCILER__SHOPS", &shops)]);
    assert_eq!((config.shops.len(), &*config.shops[0].id), (1, "7"));
    let error = only(errors_with_env(
        &minimal(),
        &[("RECONCILER__SHOPS", "1001")],
    ));
    assert!(
        error.starts_with("shops (from RECONCILER__SHOPS): expected a toml array"),
        "{error}"
    );
}

#[test]
fn database_url_overrides_database_url() {
    let url = |env: &[(&str, &str)]| with_env(&minimal(), env).database.url.expose().clone();
    assert_eq!(
        url(&[("DATABASE_URL", "postgres://env/x")]),
        "postgres://env/x"
    );
    assert_eq!(
        url(&[("RECONCILER__DATABASE__URL", "postgres://own/x")]),
        "postgres://own/x"
    );
    let both = [
        ("DATABASE_URL", "postgres://env/x"),
        ("RECONCILER__DATABASE__URL", "postgres://own/x"),
    ];
    assert_eq!(url(&both), "postgres://env/x");
    assert_eq!(
        url(&[("DATABASE_URL", "")]),
        "postgres://localhost/reconciler"
    );
    let file = super::minimal_with(
        "url = \"postgres://localhost/reconciler\"",
        "url_file = 'gone'",
    );
    let config = with_env(&file, &[("DATABASE_URL", "postgres://env/x")]);
    assert_eq!(config.database.url.expose(), "postgres://env/x");
}

#[test]
fn an_unknown_variable_is_an_error_with_its_key() {
    for (variable, expected) in [
        (
            "RECONCILER__GATEWAY__BASE_ULR",
            "gateway.base_ulr (from RECONCILER__GATEWAY__BASE_ULR): unknown key",
        ),
        (
            "RECONCILER__GATEWYA__BASE_URL",
            "gatewya.base_url (from RECONCILER__GATEWYA__BASE_URL): unknown section",
        ),
        (
            "RECONCILER__SHOPS__1001__SECRTE_KEY",
            "shops[0].secrte_key (from RECONCILER__SHOPS__1001__SECRTE_KEY): unknown key",
        ),
        (
            "RECONCILER__GATEWAY",
            "gateway (from RECONCILER__GATEWAY): expected a key",
        ),
        (
            "RECONCILER__SHOPS__SECRET_KEY",
            "shops (from RECONCILER__SHOPS__SECRET_KEY): expected an id or index",
        ),
        ("RECONCILER__", " (from RECONCILER__): unknown section"),
    ] {
        let error = only(errors_with_env(&minimal(), &[(variable, "x")]));
        assert!(error.starts_with(expected), "{variable}: {error}");
    }
}

#[test]
fn other_variables_are_left_alone() {
    let env = [
        ("RECONCILER_CONFIG", "x"),
        ("RECONCILER_ROLE", "api"),
        ("PATH", "/bin"),
        ("GATEWAY", "x"),
    ];
    with_env(&minimal(), &env);
}

#[test]
fn an_invalid_value_names_its_variable_and_range() {
    for (variable, value, expected) in [
        (
            "DATABASE__MAX_CONNECTIONS",
            "many",
            "expected an integer from 0 to 4294967295, got \"many\"",
        ),
        (
            "DATABASE__MAX_CONNECTIONS",
            "0",
            "must be from 2 to 10000, got 0",
        ),
        (
            "GATEWAY__REQUEST_TIMEOUT",
            "30",
            "expected a duration such as 150ms, 30s, 24h or 400d, got \"30\"",
        ),
        (
            "GATEWAY__TRUST_REQUEST_ID",
            "yes",
            "expected true or false, got \"yes\"",
        ),
        (
            "GATEWAY__FOLLOW",
            "both",
            "expected result or status, got \"both\"",
        ),
        (
            "FOLLOW__RECHECK_AFTER_FINAL",
            "1h,soon",
            "item 2: expected a duration such as 150ms, 30s, 24h or 400d, got \"soon\"",
        ),
        (
            "API__LISTEN",
            "localhost:80",
            "expected an ip address and port such as 127.0.0.1:8080 or [::1]:8080, got \"localhost:80\"",
        ),
        ("SECURITY__FINGERPRINT_KEY", "", "is empty"),
    ] {
        let variable = format!("RECONCILER__{variable}");
        let error = only(errors_with_env(&minimal(), &[(&variable, value)]));
        assert!(
            error.ends_with(&format!("(from {variable}): {expected}")),
            "{error}"
        );
    }
    let error = only(errors_with_env(
        &minimal(),
        &[("RECONCILER__API__LISTEN", "a\u{FFFD}b")],
    ));
    assert!(error.ends_with("the value is not utf-8"), "{error}");
}

#[test]
fn two_variables_for_one_key_are_refused() {
    let env = [
        ("RECONCILER__API__LISTEN", "127.0.0.1:1"),
        ("RECONCILER__api__listen", "127.0.0.1:2"),
    ];
    let error = only(errors_with_env(&minimal(), &env));
    assert_eq!(
        error,
        "api.listen (from RECONCILER__api__listen): RECONCILER__API__LISTEN sets it too"
    );
}

#[test]
fn a_number_for_an_id_in_the_file_is_not_guessed_at() {
    let error = only_error(&super::minimal_with("id = \"1001\"", "id = 1001"));
    assert_eq!(error, "shops[0].id: expected text in quotes, got 1001");
}

#[test]
fn every_setting_has_a_source() {
    let file = File::new(&minimal_and(
        "[[subscribers]]\nname='s'\nurl='https://x.example/h?token=hunter3'\nshops=['*']\n\
         secret='whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz'",
    ));
    let env = [
        (
            "DATABASE_URL",
            "postgres://app:hunter2@db:5432/x?sslmode=require",
        ),
        ("RECONCILER__GATEWAY__REQUEST_TIMEOUT", "20s"),
    ];
    let settings = file.explain(&env);
    let of = |key: &str| settings.iter().find(|it| it.key == key).unwrap();
    assert_eq!(of("gateway.request_timeout").value, "20s");
    assert_eq!(
        of("gateway.request_timeout").origin,
        SettingOrigin::Env("RECONCILER__GATEWAY__REQUEST_TIMEOUT".to_owned())
    );
    assert_eq!(of("webhooks.public_url").origin, SettingOrigin::File);
    assert_eq!(
        of("follow.lease").to_string(),
        "follow.lease = 45s  # default"
    );
    assert_eq!(
        of("database.url").to_string(),
        "database.url = postgres://app:***@db:5432/x?***  # env DATABASE_URL"
    );
    let printed: String = settings.iter().map(|it| format!("{it} {it:?}\n")).collect();
    assert_eq!(of("subscribers[0].url").value, "https://x.example/h?***");
    for secret in [
        "hunter2",
        "hunter3",
        "whsec",
        "shop-secret",
        "0123456789abcdef",
    ] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
