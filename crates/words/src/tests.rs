//! Tests of ids, money and time: parsing and formatting are inverse.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed test may panic"
)]

use crate::money::{
    conflicting_exponents, decimal, exponent, gateway_exponent, is_known, iso_exponent,
};
use crate::{
    Channel, Currency, DiscrepancyKind, GatewayIdempotencyKey, ShopId, State, TaskId, Timestamp,
    TrackingId, TransactionType, Uid, Verdict,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        cases: count,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_tracking_id_is_printable_and_safe_in_paths(text in "[ -~é\t]{0,6}") {
        let fits = !text.is_empty()
            && text.chars().all(|c| ('!'..='~').contains(&c) && !";/\\?#%".contains(c))
            && text != "." && text != ".." && !text.starts_with('~');
        let parsed = TrackingId::parse(&text);
        prop_assert_eq!(parsed.is_ok(), fits, "{:?}", text);
        if let Ok(id) = parsed {
            prop_assert_eq!(id.as_str(), &text);
        }
    }

    #[test]
    fn a_time_survives_formatting_and_parsing(
        micros in -62_167_219_200_000_000_i64..=253_402_300_799_999_999
    ) {
        let time = Timestamp::from_micros(micros);
        prop_assert_eq!(Timestamp::parse(&time.to_rfc3339()), Some(time));
        prop_assert_eq!(Timestamp::from(OffsetDateTime::from(time)), time);
    }

    #[test]
    fn any_time_can_be_shifted_and_formatted(micros in any::<i64>(), by in any::<u64>()) {
        let time = Timestamp::from_micros(micros);
        let by = Duration::from_micros(by);
        prop_assert!(time.plus(by) >= time && time.minus(by) <= time);
        prop_assert_eq!(time.since(time.plus(by)), Duration::ZERO);
        prop_assert!(Timestamp::parse(&time.plus(by).to_rfc3339()).is_some());
    }

    #[test]
    fn parsers_accept_any_text_without_panic(text in "\\PC{0,40}") {
        let _ = (Timestamp::parse(&text), Currency::parse(&text), ShopId::parse(&text));
        let _ = (Uid::from_gateway(&text), TaskId::from_gateway(&text));
    }
}

#[test]
fn a_tracking_id_has_at_most_255_characters() {
    assert!(TrackingId::parse(&"a".repeat(255)).is_ok());
    assert!(TrackingId::parse(&"a".repeat(256)).is_err());
    assert!(TrackingId::parse("order-1~2_(3)").is_ok());
    assert!(TrackingId::parse("...").is_ok());
}

#[test]
fn a_task_id_needs_no_escaping_in_a_path() {
    assert!(TaskId::from_gateway("9f5c-1.a_b").is_some());
    for bad in ["", ".", "..", "a/b", "a b", "a%2f", "a?b", "é"] {
        assert_eq!(TaskId::from_gateway(bad), None, "{bad:?}");
    }
    assert!(Uid::from_gateway("4107-310b0da80b").is_some());
    assert_eq!(Uid::from_gateway("a\nb"), None);
    assert_eq!(Uid::from_gateway(&"a".repeat(129)), None);
}

#[test]
fn a_request_key_depends_on_shop_and_tracking_id() {
    let key = |shop, id| {
        GatewayIdempotencyKey::of(
            &ShopId::parse(shop).unwrap(),
            &TrackingId::parse(id).unwrap(),
        )
        .0
    };
    assert_eq!(key("1", "a"), key("1", "a"));
    assert_ne!(key("1", "a"), key("2", "a"));
    assert_ne!(key("1", "a"), key("1", "b"));
    // The key is not stored, so its derivation must never change.
    assert_eq!(
        key("1001", "order-1").to_string(),
        "da70f2bb-ae74-586b-809c-5d710430b8c8"
    );
}

#[test]
fn minor_units_follow_the_gateway_not_iso_4217() {
    let both = |code| {
        (
            gateway_exponent(currency(code)),
            iso_exponent(currency(code)),
        )
    };
    assert_eq!(both("USD"), (2, Some(2)));
    assert_eq!(both("JPY"), (0, Some(0)));
    assert_eq!(both("KWD"), (3, Some(3)));
    assert_eq!(both("IDR"), (0, Some(2)));
    assert_eq!(both("IQD"), (0, Some(3)));
    assert_eq!(both("MOP"), (1, Some(2)));
    assert_eq!(both("UGX"), (2, Some(0)));
    assert_eq!(both("QQQ"), (2, None));
}

#[test]
fn a_shop_can_override_minor_units() {
    let none = BTreeMap::new();
    let own = BTreeMap::from([("IDR".to_owned(), 2), ("UGX".to_owned(), 0)]);
    let both = |code| {
        (
            exponent(currency(code), &none),
            exponent(currency(code), &own),
        )
    };
    assert_eq!(both("IDR"), (0, 2));
    assert_eq!(both("UGX"), (2, 0));
    assert_eq!(both("MOP"), (1, 1));
    assert_eq!(both("EUR"), (2, 2));
}

#[test]
fn disputed_currencies_exclude_shop_overrides() {
    let told = |own: &[&str]| {
        let own = own.iter().map(|code| ((*code).to_owned(), 2)).collect();
        let codes = conflicting_exponents(&own)
            .into_iter()
            .map(|c| c.to_string());
        codes.collect::<Vec<_>>().join(" ")
    };
    let all = "CLF CVE IDR IQD IRR KPW LAK LBP MMK MOP SLL UGX UYW";
    assert_eq!(told(&[]), all);
    assert_eq!(
        told(&["CVE", "UGX"]),
        all.replace("CVE ", "").replace("UGX ", "")
    );
}

#[test]
fn iso_4217_and_old_gateway_currencies_are_known() {
    for good in ["EUR", "JPY", "XCG", "ZWG", "STN", "BYN", "BYR", "STD"] {
        assert!(is_known(currency(good)), "{good}");
    }
    for bad in ["QQQ", "EUX", "DEM", "AAA", "ZZZ", "BTC"] {
        assert!(!is_known(currency(bad)), "{bad}");
    }
}

#[test]
fn minor_units_are_formatted_as_a_decimal() {
    for (minor, places, shown) in [
        (3_245, 2, "32.45"),
        (5, 2, "0.05"),
        (0, 2, "0.00"),
        (-7, 3, "-0.007"),
        (1_234, 0, "1234"),
        (1_234, 4, "0.1234"),
        (i64::MIN, 2, "-92233720368547758.08"),
    ] {
        assert_eq!(decimal(minor, places), shown);
    }
}

#[test]
fn a_currency_is_three_capital_letters() {
    assert_eq!(currency("usd"), currency("USD"));
    for bad in ["", "US", "USDT", "U1D", "руб", "U D"] {
        assert_eq!(Currency::parse(bad), None, "{bad:?}");
    }
    assert!(serde_json::from_str::<Currency>("\"12\"").is_err());
}

#[test]
fn times_are_parsed_with_any_offset_and_fraction() {
    let read = |text| Timestamp::parse(text).map(Timestamp::to_rfc3339);
    let expected = Some("2022-03-17T14:15:25.995Z".to_owned());
    assert_eq!(read("2022-03-17T14:15:25.995Z"), expected);
    assert_eq!(read("2022-03-17T14:15:25.995+00:00"), expected);
    assert_eq!(read(" 2022-03-17T17:15:25.995+03:00 "), expected);
    assert_eq!(
        read("2022-03-17T14:15:25Z").as_deref(),
        Some("2022-03-17T14:15:25Z")
    );
    for bad in [
        "",
        "yesterday",
        "2022-03-17",
        "2022-02-30T00:00:00Z",
        "2022-03-17T14:15:25",
    ] {
        assert_eq!(read(bad), None, "{bad:?}");
    }
}

#[test]
fn every_word_round_trips() {
    for word in State::ALL {
        assert_eq!(State::parse(word.as_str()), Some(*word));
        assert!(!word.is_presumed() || word.is_final());
    }
    assert!(
        TransactionType::ALL
            .iter()
            .all(|w| TransactionType::parse(w.as_str()) == Some(*w))
    );
    assert!(
        Channel::ALL
            .iter()
            .all(|w| Channel::parse(w.as_str()) == Some(*w))
    );
    assert!(
        Verdict::ALL
            .iter()
            .all(|w| Verdict::parse(w.as_str()) == Some(*w))
    );
    assert!(
        DiscrepancyKind::ALL
            .iter()
            .all(|w| DiscrepancyKind::parse(w.as_str()) == Some(*w))
    );
}
