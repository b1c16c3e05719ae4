//! The sections that repeat: shops, clients and subscribers.

use std::collections::{BTreeMap, BTreeSet};

use super::document::ConfigDocument;
use super::keys::{KeyDigest, subscriber_secret};
use super::load::within;
use super::section_reader::{Diagnostics, SectionReader};
use super::types::{
    ClientConfig, EventType, PayloadStyle, ShopConfig, ShopSelection, SubmitsMode,
    SubscriberConfig, WebhookSignature,
};
use super::value::FromSetting;
use gateway::RsaPublicKey;
use leaves::secret::{Rotating, Secret};

const MAX_NAME_LEN: usize = 64;
/// The largest exponent of ISO 4217.
const MAX_EXPONENT: u8 = 4;

/// Reads one repeated section; `None` stands for each entry in which something is wrong,
/// so that the others keep their places.
pub(super) fn entries<T>(
    document: &mut ConfigDocument,
    notes: &mut Diagnostics,
    section: &'static str,
    read: impl Fn(SectionReader<'_>) -> Option<T>,
) -> Vec<Option<T>> {
    let lists = document
        .lists
        .remove(section)
        .unwrap_or_default()
        .into_iter()
        .enumerate();
    lists
        .map(|(index, entries)| {
            read(SectionReader::new(
                format!("{section}[{index}]"),
                entries,
                notes,
            ))
        })
        .collect()
}

pub(super) fn shop(mut fields: SectionReader<'_>) -> Option<ShopConfig> {
    let id = fields.required("id", |id: &String| shop_id(id));
    let secret_key = fields.secret_values("secret_key", true, secret_text, Secret::to_string);
    if secret_key.as_ref().is_some_and(Vec::is_empty) {
        fields.report_missing(
            "secret_key",
            "is missing, expected the shop's secret key or secret_key_file",
        );
    }
    let submits = fields.with_default("submits", SubmitsMode::On);
    let public_key = fields.secret_values("public_key", true, public_key, RsaPublicKey::to_string);
    let webhook_signature = fields.with_default("webhook_signature", WebhookSignature::Required);
    let max_requests_per_second =
        fields.with_default_checked("max_requests_per_second", 20, within(1..=100_000));
    let max_in_flight = fields.with_default_checked("max_in_flight", 64, within(1..=100_000));
    let currency_exponents = fields.with_default_checked(
        "currency_exponents",
        BTreeMap::new(),
        |exponents: &BTreeMap<_, _>| {
            exponents
                .iter()
                .try_for_each(|(code, exponent)| currency_exponent(code, *exponent))
        },
    );
    fields.finish();
    Some(ShopConfig {
        id: id?,
        secret_key: Rotating::from_values(secret_key?)?,
        submits: submits?,
        public_key: public_key?,
        webhook_signature: webhook_signature?,
        max_requests_per_second: max_requests_per_second?,
        max_in_flight: max_in_flight?,
        currency_exponents: currency_exponents?,
    })
}

pub(super) fn client(mut fields: SectionReader<'_>) -> Option<ClientConfig> {
    let name = fields.required("name", |name: &String| plain_name(name));
    // Printed by its kind alone when it is wrong: people put the key itself here.
    let digest = |bytes: &[u8]| KeyDigest::parse(std::str::from_utf8(bytes).unwrap_or_default());
    let key_sha256 = fields.secret_values("key_sha256", false, digest, KeyDigest::to_string);
    if key_sha256.as_ref().is_some_and(Vec::is_empty) {
        fields.report_missing(
            "key_sha256",
            "is missing, expected the hex sha-256 of the client's key",
        );
    }
    let shops = fields.required("shops", |shops: &ShopSelection| some_shop(shops));
    let scopes = fields.required("scopes", not_empty);
    let limit = fields.optional_checked("max_requests_per_second", within(1..=1_000_000));
    fields.finish();
    Some(ClientConfig {
        name: name?,
        key_sha256: key_sha256?.into_iter().next()?,
        shops: shops?,
        scopes: scopes?,
        max_requests_per_second: limit?,
    })
}

pub(super) fn subscriber(mut fields: SectionReader<'_>) -> Option<SubscriberConfig> {
    let name = fields.required("name", |name: &String| plain_name(name));
    let allow_http = fields.with_default("allow_http", false);
    let url = fields.url("url", allow_http.unwrap_or(true));
    if matches!(url, Some(None)) {
        fields.report_missing(
            "url",
            "is missing, expected the address that messages go to",
        );
    }
    let allow_private = fields.with_default("allow_private", true);
    let key = |bytes: &[u8]| subscriber_secret(std::str::from_utf8(bytes).unwrap_or_default());
    let secret = fields.secret_values("secret", true, key, Secret::to_string);
    if secret.as_ref().is_some_and(Vec::is_empty) {
        fields.report_missing(
            "secret",
            "is missing, expected whsec_ followed by base64, or secret_file",
        );
    }
    let shops = fields.required("shops", |shops: &ShopSelection| some_shop(shops));
    let default_events = BTreeSet::from([
        EventType::TransactionFinalized,
        EventType::TransactionCorrected,
        EventType::DiscrepancyOpened,
    ]);
    let events = fields.with_default_checked("events", default_events, not_empty);
    let body = fields.with_default("body", PayloadStyle::Full);
    fields.finish();
    Some(SubscriberConfig {
        name: name?,
        url: url??,
        allow_http: allow_http?,
        allow_private: allow_private?,
        secret: Rotating::from_values(secret?)?,
        shops: shops?,
        events: events?,
        body: body?,
    })
}

fn shop_id(id: &str) -> Result<(), String> {
    // The rule of the words, so that no configured shop is left out later.
    match words::ShopId::parse(id) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!(
            "expected 1 to {MAX_NAME_LEN} characters of A-Z a-z 0-9 _ -, got {id:?}"
        )),
    }
}

fn plain_name(name: &str) -> Result<(), String> {
    let length = name.chars().count();
    if (1..=MAX_NAME_LEN).contains(&length) && !name.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(format!(
            "expected a name of 1 to {MAX_NAME_LEN} printable characters, got {name:?}"
        ))
    }
}

fn secret_text(bytes: &[u8]) -> Result<Secret, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not utf-8".to_owned())?;
    if text.chars().any(char::is_control) {
        return Err("has a control character, such as a line break, in it".to_owned());
    }
    Ok(Secret::new(text.to_owned()))
}

fn public_key(bytes: &[u8]) -> Result<RsaPublicKey, String> {
    RsaPublicKey::parse(std::str::from_utf8(bytes).unwrap_or_default())
}

fn some_shop(shops: &ShopSelection) -> Result<(), String> {
    match shops {
        ShopSelection::Only(ids) if ids.is_empty() => Err(format!(
            "expected {}, the list is empty",
            ShopSelection::expected()
        )),
        ShopSelection::Only(_) | ShopSelection::All => Ok(()),
    }
}

fn not_empty<T: FromSetting + Ord>(set: &BTreeSet<T>) -> Result<(), String> {
    if set.is_empty() {
        return Err(format!(
            "expected {}, the list is empty",
            BTreeSet::<T>::expected()
        ));
    }
    Ok(())
}

fn currency_exponent(code: &str, exponent: u8) -> Result<(), String> {
    if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(format!(
            "expected currency codes of three capital letters, got {code:?}"
        ));
    }
    within(0..=MAX_EXPONENT)(&exponent).map_err(|problem| format!("{code} {problem}"))
}
