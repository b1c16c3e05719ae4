//! Rules between settings, checked together at start: a contradiction is found here and
//! not by a payment.
//!
//! Errors are for what cannot work or would break a promise; what works and is unwise is
//! a warning.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use domain::schedule::TASK_LIFETIME;

use super::error::ConfigError;
use super::load::ParsedSections;
use super::types::{
    ClientConfig, Config, FollowConfig, GatewayConfig, ShopConfig, ShopSelection, SubscriberConfig,
    WebhookSignature,
};
use super::value::FromSetting;

/// What a lease must leave beyond the request timeout: a submit is written only while
/// more than the timeout remains, and getting from the lease to the write takes a moment.
const MIN_LEASE_MARGIN: Duration = Duration::from_millis(200);

/// Checks what could be read; a part with an error of its own is left out.
pub(super) fn check(
    sections: &ParsedSections,
    shops: &[Option<ShopConfig>],
    clients: &[Option<ClientConfig>],
    subscribers: &[Option<SubscriberConfig>],
) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    if let (Some(gateway), Some(follow)) = (&sections.gateway, &sections.follow) {
        pace(gateway, follow, &mut errors);
    }
    listeners(sections, &mut errors);
    let ids = shops
        .iter()
        .map(|it| it.as_ref().map(|shop| shop.id.as_str()));
    distinct("shops", "id", ids, &mut errors);
    let names = clients
        .iter()
        .map(|it| it.as_ref().map(|client| client.name.as_str()));
    distinct("clients", "name", names, &mut errors);
    let keys = clients
        .iter()
        .map(|it| it.as_ref().map(|client| client.key_sha256.as_bytes()));
    distinct("clients", "key_sha256", keys, &mut errors);
    let names = subscribers
        .iter()
        .map(|it| it.as_ref().map(|receiver| receiver.name.as_str()));
    distinct("subscribers", "name", names, &mut errors);
    if shops.is_empty() {
        errors.push(error(
            "shops",
            "is missing, expected at least one [[shops]]",
        ));
    }
    // With a broken shop its id may be unknown, and every reference to it would be too.
    if let Some(shops) = shops.iter().map(Option::as_ref).collect::<Option<Vec<_>>>() {
        let known: Vec<&str> = shops.iter().map(|shop| shop.id.as_str()).collect();
        let named = clients
            .iter()
            .map(|it| it.as_ref().map(|client| &client.shops));
        references("clients", &known, named, &mut errors);
        let named = subscribers
            .iter()
            .map(|it| it.as_ref().map(|subscriber| &subscriber.shops));
        references("subscribers", &known, named, &mut errors);
    }
    errors
}

fn error(key: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError {
        key: key.into(),
        variable: None,
        problem: problem.into(),
    }
}

fn pace(gateway: &GatewayConfig, follow: &FollowConfig, errors: &mut Vec<ConfigError>) {
    let least = gateway.request_timeout + MIN_LEASE_MARGIN;
    if follow.lease < least {
        errors.push(error(
            "follow.lease",
            format!(
                "must be longer than gateway.request_timeout ({}), at least {}, got {}",
                gateway.request_timeout.show(),
                least.show(),
                follow.lease.show()
            ),
        ));
    }
    if follow.first_check > follow.max_interval {
        errors.push(error(
            "follow.first_check",
            format!(
                "must not be longer than follow.max_interval ({}), got {}",
                follow.max_interval.show(),
                follow.first_check.show()
            ),
        ));
    }
    if follow.max_interval > follow.max_interval_old {
        errors.push(error(
            "follow.max_interval_old",
            format!(
                "must not be shorter than follow.max_interval ({}), got {}",
                follow.max_interval.show(),
                follow.max_interval_old.show()
            ),
        ));
    }
}

fn listeners(sections: &ParsedSections, errors: &mut Vec<ConfigError>) {
    let all = [
        ("api.listen", sections.api.as_ref().map(|api| api.listen)),
        (
            "webhooks.listen",
            sections.webhooks.as_ref().map(|webhooks| webhooks.listen),
        ),
        ("ops.listen", sections.ops.as_ref().map(|ops| ops.listen)),
    ];
    let mut taken: BTreeMap<SocketAddr, &str> = BTreeMap::new();
    for (key, listen) in all {
        // Port 0 asks for any free port, which is another one each time.
        let Some(listen) = listen.filter(|listen| listen.port() != 0) else {
            continue;
        };
        match taken.get(&listen) {
            Some(first) => errors.push(error(key, format!("{listen} is {first} already"))),
            None => {
                taken.insert(listen, key);
            }
        }
    }
}

fn distinct<V: Ord>(
    section: &str,
    key: &str,
    values: impl Iterator<Item = Option<V>>,
    errors: &mut Vec<ConfigError>,
) {
    let mut first: BTreeMap<V, usize> = BTreeMap::new();
    for (index, value) in values.enumerate() {
        let Some(value) = value else { continue };
        if let Some(earlier) = first.get(&value) {
            let problem = format!("must be distinct, {section}[{earlier}] has the same");
            errors.push(error(format!("{section}[{index}].{key}"), problem));
        } else {
            first.insert(value, index);
        }
    }
}

fn references<'a>(
    section: &str,
    known: &[&str],
    named: impl Iterator<Item = Option<&'a ShopSelection>>,
    errors: &mut Vec<ConfigError>,
) {
    for (index, shops) in named.enumerate() {
        let Some(ShopSelection::Only(ids)) = shops else {
            continue;
        };
        for id in ids.iter().filter(|id| !known.contains(&id.as_str())) {
            let problem = format!("no shop has the id {id:?}, known are {}", known.join(", "));
            errors.push(error(format!("{section}[{index}].shops"), problem));
        }
    }
}

/// What works, and gives up something that is promised: `check-config` refuses it. A service that runs
/// with it goes on, and warns. One sentence each.
pub fn broken_promises(config: &Config) -> Vec<String> {
    let mut owners: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for shop in &config.shops {
        let keys: BTreeSet<String> = shop.public_key.iter().map(ToString::to_string).collect();
        for key in keys {
            owners.entry(key).or_default().push(&shop.id);
        }
    }
    let shared: BTreeSet<Vec<&str>> = owners.into_values().filter(|ids| ids.len() > 1).collect();
    let broken = shared.iter().map(|ids| {
        format!(
            "{} have the same public_key: a webhook that the gateway signed for one of them would be \
             believed at the other",
            named_shops(ids)
        )
    });
    broken.collect()
}

/// Names shops, the first few of them by their ids.
pub fn named_shops(ids: &[&str]) -> String {
    const FEW: usize = 5;
    let few = &ids[..ids.len().min(FEW)];
    match (few, ids.len() - few.len()) {
        ([one], _) => format!("shop {one}"),
        ([first @ .., last], 0) => format!("shops {} and {last}", first.join(", ")),
        (_, more) => format!("shops {} and {more} more", few.join(", ")),
    }
}

/// What works and is unwise, one sentence each, for the log at start.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = broken_promises(config);
    let mut warn_if = |unwise: bool, text: String| {
        if unwise {
            warnings.push(text);
        }
    };
    let (gateway, follow) = (&config.gateway, &config.follow);
    warn_if(
        gateway.trust_request_id,
        "gateway.trust_request_id is on: a submit in doubt may be sent again".to_owned(),
    );
    warn_if(
        gateway.connect_timeout > gateway.request_timeout,
        "gateway.connect_timeout is longer than gateway.request_timeout, which ends the call first"
            .to_owned(),
    );
    warn_if(
        follow.in_doubt_horizon < TASK_LIFETIME,
        "follow.in_doubt_horizon is shorter than the 24h for which the gateway keeps a task: \
         absence may be declared while the task still runs"
            .to_owned(),
    );
    warn_if(
        config.serve.drain_timeout < gateway.request_timeout,
        "serve.drain_timeout is shorter than gateway.request_timeout: a stop may leave submits in doubt"
            .to_owned(),
    );
    for (key, plain) in [
        (
            "gateway.base_url",
            gateway.base_url.scheme() == "http" && gateway.allow_http,
        ),
        (
            "webhooks.public_url",
            config.webhooks.public_url.scheme() == "http" && config.webhooks.allow_http,
        ),
    ] {
        warn_if(
            plain,
            format!("{key} is plain http: secrets travel unencrypted"),
        );
    }
    for shop in &config.shops {
        warn_if(
            shop.webhook_signature == WebhookSignature::Optional,
            format!("shop {} takes unsigned webhooks as hints", shop.id),
        );
        warn_if(
            shop.public_key.is_empty() && shop.webhook_signature == WebhookSignature::Required,
            format!(
                "shop {} has no public_key: every webhook of it will be refused",
                shop.id
            ),
        );
    }
    warn_if(
        config.clients.is_empty(),
        "no [[clients]]: nobody can call the api".to_owned(),
    );
    warnings
}
