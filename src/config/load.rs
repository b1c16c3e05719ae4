//! The sections that stand once, key by key, with their defaults.
//!
//! A default may follow another setting (a longer request timeout makes the default
//! lease longer), so that changing one value does not force a change of others.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use url::Url;

use super::document::ConfigDocument;
use super::hosts::hosts;
use super::keys::FingerprintKey;
use super::network::Network;
use super::section_reader::{Diagnostics, SectionReader};
use super::types::{
    ApiConfig, DatabaseConfig, DeliveryConfig, FollowConfig, FollowMode, GatewayConfig, Limits,
    LogFormat, OpsConfig, RetentionConfig, SecurityConfig, ServeConfig, TelemetryConfig,
    WebhooksConfig,
};
use super::value::FromSetting;
use gateway::Proxy;
use leaves::secret::{Rotating, Secret};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Up to a hundred years, so that adding one to a date never overflows.
const SPAN: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(100 * 365 * 86_400);
/// The time of one call.
const REQUEST_TIMEOUT_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(600);

const MIB: usize = 1_048_576;
/// So much a listener keeps of bodies.
const BODIES: usize = 64 * MIB;

const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_LEASE: Duration = Duration::from_secs(45);
/// What the default lease leaves beyond the request timeout.
const DEFAULT_LEASE_MARGIN: Duration = Duration::from_secs(15);
const DRAIN_MARGIN: Duration = Duration::from_secs(5);

/// What was read; `None` where something is wrong.
pub(super) struct ParsedSections {
    pub(super) database: Option<DatabaseConfig>,
    pub(super) api: Option<ApiConfig>,
    pub(super) webhooks: Option<WebhooksConfig>,
    pub(super) ops: Option<OpsConfig>,
    pub(super) security: Option<SecurityConfig>,
    pub(super) gateway: Option<GatewayConfig>,
    pub(super) delivery: Option<DeliveryConfig>,
    pub(super) follow: Option<FollowConfig>,
    pub(super) retention: Option<RetentionConfig>,
    pub(super) serve: Option<ServeConfig>,
    pub(super) telemetry: Option<TelemetryConfig>,
}

/// Reads every section that is not a list.
pub(super) fn sections(document: &mut ConfigDocument, notes: &mut Diagnostics) -> ParsedSections {
    let database = database(open(document, notes, "database"));
    let api = api(open(document, notes, "api"));
    let webhooks = webhooks(open(document, notes, "webhooks"));
    let ops = ops(open(document, notes, "ops"));
    let security = security(open(document, notes, "security"));
    let gateway = gateway(open(document, notes, "gateway"));
    let delivery = delivery(open(document, notes, "delivery"));
    let request_timeout = gateway
        .as_ref()
        .map_or(DEFAULT_REQUEST_TIMEOUT, |gateway| gateway.request_timeout);
    let follow = follow(open(document, notes, "follow"), request_timeout);
    let retention = retention(open(document, notes, "retention"));
    let serve = serve(open(document, notes, "serve"), request_timeout);
    let telemetry = telemetry(open(document, notes, "telemetry"));
    ParsedSections {
        database,
        api,
        webhooks,
        ops,
        security,
        gateway,
        delivery,
        follow,
        retention,
        serve,
        telemetry,
    }
}

fn open<'a>(
    document: &mut ConfigDocument,
    notes: &'a mut Diagnostics,
    name: &str,
) -> SectionReader<'a> {
    SectionReader::new(
        name.to_owned(),
        document.tables.remove(name).unwrap_or_default(),
        notes,
    )
}

/// A rule: the value is within the range.
pub(super) fn within<T: FromSetting + PartialOrd>(
    range: RangeInclusive<T>,
) -> impl FnOnce(&T) -> Result<(), String> {
    move |value| {
        if range.contains(value) {
            return Ok(());
        }
        let (min, max) = (range.start().show(), range.end().show());
        Err(format!("must be from {min} to {max}, got {}", value.show()))
    }
}

fn database(mut fields: SectionReader<'_>) -> Option<DatabaseConfig> {
    let url = fields.secret_values("url", false, database_url, show_database_url);
    if url.as_ref().is_some_and(Vec::is_empty) {
        fields.report_missing(
            "url",
            "is missing, set it, database.url_file or DATABASE_URL",
        );
    }
    let migrate_url = fields.secret_values("migrate_url", false, database_url, show_database_url);
    // One of them is reserved for looking at the server and for cancelling.
    let max_connections = fields.with_default_checked("max_connections", 16, within(2..=10_000));
    fields.finish();
    Some(DatabaseConfig {
        url: url?.into_iter().next()?,
        migrate_url: migrate_url?.into_iter().next(),
        max_connections: max_connections?,
    })
}

fn database_url(bytes: &[u8]) -> Result<Secret, String> {
    let expected = "expected an address such as postgres://user:password@host:5432/database";
    let text = std::str::from_utf8(bytes).map_err(|_| format!("{expected}, it is not utf-8"))?;
    for one in hosts(text)? {
        let url = Url::parse(&one).map_err(|error| format!("{expected}: {error}"))?;
        if !["postgres", "postgresql"].contains(&url.scheme()) {
            return Err(expected.to_owned());
        }
    }
    Ok(Secret::new(text.to_owned()))
}

/// Without the password and without the query, which can hold one too.
fn show_database_url(secret: &Secret) -> String {
    let each = hosts(secret.expose()).unwrap_or_default();
    let each: Vec<String> = each.iter().map(|one| show_one_host(one)).collect();
    each.join(" or ")
}

fn show_one_host(one: &str) -> String {
    let Ok(mut url) = Url::parse(one) else {
        return "***".to_owned();
    };
    if url.query().is_some() {
        url.set_query(Some("***"));
    }
    if url.password().is_some() && url.set_password(Some("***")).is_err() {
        return "***".to_owned();
    }
    url.to_string()
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn api(mut fields: SectionReader<'_>) -> Option<ApiConfig> {
    let listen = fields.with_default("listen", local(8080));
    let keep_alive = keep_alive(&mut fields);
    let max_body = fields.with_default_checked("max_body", MIB, within(1_024..=64 * MIB));
    let limits = limits(&mut fields, max_body);
    fields.finish();
    Some(ApiConfig {
        listen: listen?,
        keep_alive: keep_alive?,
        max_body: max_body?,
        limits: limits?,
    })
}

/// What a listener takes of others. Bodies in memory may be few, and at least two of the largest must fit.
fn limits(fields: &mut SectionReader<'_>, max_body: Option<usize>) -> Option<Limits> {
    let per_peer =
        fields.with_default_checked("max_connections_per_peer", 256, within(1..=1_000_000));
    let trusted = fields.with_default_checked(
        "trusted_proxies",
        Vec::new(),
        |all: &Vec<Network>| match all.iter().find(|network| network.is_everything()) {
            Some(all) => Err(format!(
                "{all} trusts everybody; name the proxies' own addresses"
            )),
            None => Ok(()),
        },
    );
    let least = max_body.unwrap_or(0).saturating_mul(2).max(MIB);
    let default = BODIES.max(least);
    let total = fields.with_default_checked("max_body_total", default, |total: &usize| {
        if *total >= least {
            return within(MIB..=64 * 1_024 * MIB)(total);
        }
        let max_body = max_body.unwrap_or(0);
        Err(format!(
            "must be at least {least}, twice max_body ({max_body}), got {total}"
        ))
    });
    Some(Limits {
        max_connections_per_peer: per_peer?,
        trusted_proxies: trusted?,
        max_body_total: total?,
    })
}

fn webhooks(mut fields: SectionReader<'_>) -> Option<WebhooksConfig> {
    let listen = fields.with_default("listen", local(8081));
    let allow_http = fields.with_default("allow_http", false);
    let public_url = fields.base_url("public_url", None, allow_http.unwrap_or(true));
    if matches!(public_url, Some(None)) {
        let problem = "is missing, expected the address at which the gateway reaches this listener";
        fields.report_missing("public_url", problem);
    }
    let keep_alive = keep_alive(&mut fields);
    let max_body = fields.with_default_checked("max_body", 262_144, within(1_024..=64 * MIB));
    let limits = limits(&mut fields, max_body);
    fields.finish();
    Some(WebhooksConfig {
        listen: listen?,
        public_url: public_url??,
        allow_http: allow_http?,
        keep_alive: keep_alive?,
        max_body: max_body?,
        limits: limits?,
    })
}

fn ops(mut fields: SectionReader<'_>) -> Option<OpsConfig> {
    let listen = fields.with_default("listen", local(9090));
    let keep_alive = keep_alive(&mut fields);
    fields.finish();
    Some(OpsConfig {
        listen: listen?,
        keep_alive: keep_alive?,
    })
}

/// Longer than a balancer keeps its own, which is 60 seconds most often: it must be the one that closes.
fn keep_alive(fields: &mut SectionReader<'_>) -> Option<Duration> {
    fields.with_default_checked("keep_alive", 75 * SECOND, within(SECOND..=HOUR))
}

fn security(mut fields: SectionReader<'_>) -> Option<SecurityConfig> {
    let keys = fields.secret_values("fingerprint_key", true, FingerprintKey::parse, |key| {
        format!("*** (id {})", key.id())
    });
    if keys.as_ref().is_some_and(Vec::is_empty) {
        let problem = "is missing, expected 32 bytes or more, or fingerprint_key_file";
        fields.report_missing("fingerprint_key", problem);
    }
    fields.finish();
    Some(SecurityConfig {
        fingerprint_key: Rotating::from_values(keys?)?,
    })
}

fn gateway(mut fields: SectionReader<'_>) -> Option<GatewayConfig> {
    let allow_http = fields.with_default("allow_http", false);
    // With a broken allow_http the addresses cannot be judged: one error is enough.
    let lenient = allow_http.unwrap_or(true);
    let base_url = fields.base_url("base_url", Some("https://gateway.unonapay.com"), lenient);
    let reports_url = fields.base_url("reports_url", Some("https://online.unonapay.com"), lenient);
    let follow = fields.with_default("follow", FollowMode::Result);
    let trust_request_id = fields.with_default("trust_request_id", false);
    let request_timeout = fields.with_default_checked(
        "request_timeout",
        DEFAULT_REQUEST_TIMEOUT,
        within(REQUEST_TIMEOUT_RANGE),
    );
    let connect_default = (5 * SECOND).min(request_timeout.unwrap_or(DEFAULT_REQUEST_TIMEOUT));
    let connect_timeout = fields.with_default_checked(
        "connect_timeout",
        connect_default,
        within(REQUEST_TIMEOUT_RANGE),
    );
    let max_connection_age =
        fields.with_default_checked("max_connection_age", 5 * MINUTE, within(SPAN));
    let proxy = proxy(&mut fields);
    let ca_file = fields.optional_checked("ca_file", |_: &String| Ok(()));
    let ca_file = ca_file.map(|file| file.map(|file| fields.file(&file)));
    fields.finish();
    Some(GatewayConfig {
        base_url: base_url??,
        reports_url: reports_url??,
        follow: follow?,
        trust_request_id: trust_request_id?,
        connect_timeout: connect_timeout?,
        request_timeout: request_timeout?,
        allow_http: allow_http?,
        max_connection_age: max_connection_age?,
        proxy: proxy?,
        ca_file: ca_file?,
    })
}

fn delivery(mut fields: SectionReader<'_>) -> Option<DeliveryConfig> {
    let proxy = proxy(&mut fields);
    fields.finish();
    Some(DeliveryConfig { proxy: proxy? })
}

/// A proxy is asked in plain http most often, and is on a network of one's own.
fn proxy(fields: &mut SectionReader<'_>) -> Option<Proxy> {
    let url = fields.optional_checked("proxy", |url: &Url| {
        if ["http", "https"].contains(&url.scheme()) {
            Ok(())
        } else {
            Err("expected an address such as http://proxy.internal:3128".to_owned())
        }
    });
    let except = fields.with_default("no_proxy", Vec::new());
    Some(Proxy {
        url: url?,
        except: except?,
    })
}

fn follow(mut fields: SectionReader<'_>, request_timeout: Duration) -> Option<FollowConfig> {
    let max_interval = fields.with_default_checked("max_interval", MINUTE, within(SPAN));
    let fastest = max_interval.unwrap_or(MINUTE);
    let first_check = fields.with_default_checked("first_check", SECOND.min(fastest), within(SPAN));
    let max_interval_old =
        fields.with_default_checked("max_interval_old", (6 * HOUR).max(fastest), within(SPAN));
    let clock_tolerance = fields.with_default_checked(
        "clock_tolerance",
        2 * MINUTE,
        within(Duration::ZERO..=*SPAN.end()),
    );
    let absence_interval =
        fields.with_default_checked("absence_interval", 10 * MINUTE, within(SPAN));
    let in_doubt_horizon = fields.with_default_checked("in_doubt_horizon", DAY, within(SPAN));
    let lease_default = DEFAULT_LEASE.max(request_timeout + DEFAULT_LEASE_MARGIN);
    let lease = fields.with_default_checked("lease", lease_default, within(SPAN));
    let recheck =
        fields.with_default_checked("recheck_after_final", vec![HOUR, DAY], |list: &Vec<_>| {
            list.iter().try_for_each(|after| within(SPAN)(after))
        });
    fields.finish();
    Some(FollowConfig {
        first_check: first_check?,
        max_interval: max_interval?,
        max_interval_old: max_interval_old?,
        clock_tolerance: clock_tolerance?,
        absence_interval: absence_interval?,
        in_doubt_horizon: in_doubt_horizon?,
        lease: lease?,
        recheck_after_final: recheck?,
    })
}

fn retention(mut fields: SectionReader<'_>) -> Option<RetentionConfig> {
    let evidence = fields.with_default_checked("evidence", 400 * DAY, within(SPAN));
    let events = fields.with_default_checked("events", 90 * DAY, within(SPAN));
    fields.finish();
    Some(RetentionConfig {
        evidence: evidence?,
        events: events?,
    })
}

fn serve(mut fields: SectionReader<'_>, request_timeout: Duration) -> Option<ServeConfig> {
    let default = request_timeout + DRAIN_MARGIN;
    let drain_timeout = fields.with_default_checked(
        "drain_timeout",
        default,
        within(Duration::ZERO..=*SPAN.end()),
    );
    let shutdown_delay = fields.with_default_checked(
        "shutdown_delay",
        5 * SECOND,
        within(Duration::ZERO..=5 * MINUTE),
    );
    fields.finish();
    Some(ServeConfig {
        drain_timeout: drain_timeout?,
        shutdown_delay: shutdown_delay?,
    })
}

fn telemetry(mut fields: SectionReader<'_>) -> Option<TelemetryConfig> {
    let log = fields.with_default_checked("log", "info".to_owned(), |filter: &String| {
        EnvFilter::try_new(filter).map(|_| ()).map_err(|error| {
            format!("expected a log filter such as info,reconciler::follow=debug: {error}")
        })
    });
    let format = fields.with_default("format", LogFormat::Auto);
    let allow_http = fields.with_default("allow_http", false);
    let otlp_endpoint = fields.url("otlp_endpoint", allow_http.unwrap_or(true));
    fields.finish();
    Some(TelemetryConfig {
        log: log?,
        format: format?,
        otlp_endpoint: otlp_endpoint?,
        allow_http: allow_http?,
    })
}
