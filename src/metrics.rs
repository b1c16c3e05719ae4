//! What the engineer on call watches: every metric of this process, declared once.
//!
//! The doc comment of a metric is its help text. Labels are shops, words from closed
//! sets and route templates; an id of a transaction, a uid or a path as it was asked for
//! never becomes one. Metrics tell and never decide: nothing reads a value back.
//!
//! Some values are levels of the whole service, read from Postgres now and then
//! (`set_*`): every replica reports the same number, so a dashboard takes the maximum
//! over replicas. All others belong to this process and are summed.

mod gauge_sets;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

pub use gauge_sets::{MoneyInDoubt, OpenTransactions, ShopGauge};

use gauge_sets::{GaugeSets, gauge_values, replace};

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The source revision of this build, given to the compiler as `RECONCILER_REVISION`.
pub const REVISION: &str = match option_env!("RECONCILER_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// Commits and other work inside one machine room.
const FAST_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Calls that another company answers, and requests that wait for them.
const SLOW_BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0,
];
/// From a second to the last look at a transaction that nobody could explain.
const TIME_TO_FINAL_BUCKETS: &[f64] = &[
    0.25, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0, 259_200.0,
    604_800.0,
];
/// Items in one group commit.
const BATCH_SIZE_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Declares the struct, the registration and the list of families from one table.
macro_rules! metrics {
    ($( $(#[doc = $help:literal])+ $field:ident: $kind:ident ($name:literal $(, [$($label:literal),+])? $(, $buckets:ident)?); )+) => {
        /// The registry and every metric in it. One is made at start and shared.
        pub struct Metrics {
            registry: Registry,
            families: Vec<MetricFamily>,
            levels: GaugeSets,
            $( $(#[doc = $help])+ $field: $kind, )+
        }

        impl Metrics {
            fn build() -> prometheus::Result<Self> {
                let registry = Registry::new();
                let mut families = Vec::new();
                $(
                    let help = concat!($($help),+).trim();
                    let $field = make!($kind, $name, help $(, [$($label),+])? $(, $buckets)?);
                    registry.register(Box::new($field.clone()))?;
                    families.push(MetricFamily::of($name, help, &$field));
                )+
                Ok(Self { registry, families, levels: GaugeSets::default(), $($field),+ })
            }
        }
    };
}

macro_rules! make {
    (IntCounter, $name:literal, $help:ident) => { IntCounter::new($name, $help)? };
    (IntGauge, $name:literal, $help:ident) => { IntGauge::new($name, $help)? };
    (Gauge, $name:literal, $help:ident) => { Gauge::new($name, $help)? };
    (Histogram, $name:literal, $help:ident, $buckets:ident) => {
        Histogram::with_opts(HistogramOpts::new($name, $help).buckets($buckets.to_vec()))?
    };
    (HistogramVec, $name:literal, $help:ident, [$($label:literal),+], $buckets:ident) => {
        HistogramVec::new(HistogramOpts::new($name, $help).buckets($buckets.to_vec()), &[$($label),+])?
    };
    ($kind:ident, $name:literal, $help:ident, [$($label:literal),+]) => {
        $kind::new(Opts::new($name, $help), &[$($label),+])?
    };
}

metrics! {
    /// Webhooks answered, by shop and what became of them.
    webhooks: IntCounterVec("reconciler_webhooks_total", ["shop", "outcome"]);
    /// Time from a webhook's last byte to its commit.
    webhook_commit: Histogram("reconciler_webhook_commit_seconds", FAST_BUCKETS);
    /// Evidence recorded, by channel and by what it changed.
    evidence: IntCounterVec("reconciler_evidence_total", ["channel", "verdict"]);
    /// Requests to the gateway, by shop, by operation and by how they ended.
    gateway_requests: IntCounterVec("reconciler_gateway_requests_total", ["shop", "operation", "outcome"]);
    /// Time of requests to the gateway, from the first byte to the last, by operation.
    gateway_request: HistogramVec("reconciler_gateway_request_seconds", ["operation"], SLOW_BUCKETS);
    /// Time that requests to the gateway waited for the shop's budget.
    gateway_budget_wait: Histogram("reconciler_gateway_budget_wait_seconds", SLOW_BUCKETS);
    /// Whether requests to a shop's gateway are held back after failures: 1 when they are.
    breaker_open: IntGaugeVec("reconciler_breaker_open", ["shop"]);
    /// Whether submits of a shop are held back since the gateway refuses its key: 1 when they are.
    key_refused: IntGaugeVec("reconciler_key_refused", ["shop"]);
    /// Transactions that are not final, by shop and state.
    transactions_open: GaugeVec("reconciler_transactions_open", ["shop", "state"]);
    /// Age of the oldest transaction that is not final, by shop and state.
    oldest_open: GaugeVec("reconciler_oldest_open_seconds", ["shop", "state"]);
    /// Money whose fate is in doubt, in minor units, by shop, currency and type.
    money_in_doubt: GaugeVec("reconciler_money_in_doubt_minor", ["shop", "currency", "type"]);
    /// Time from creation to a final state, by type and by the channel that told.
    time_to_final: HistogramVec("reconciler_time_to_final_seconds", ["type", "channel"], TIME_TO_FINAL_BUCKETS);
    /// Checks that are due now and not yet taken.
    checks_due: Gauge("reconciler_checks_due");
    /// How late the most overdue check is.
    check_lag: Gauge("reconciler_check_lag_seconds");
    /// Leases that another worker had taken when their holder came back to act.
    lease_lost: IntCounter("reconciler_lease_lost_total");
    /// Submits whose bytes may be on the wire now.
    submits_in_flight: IntGauge("reconciler_submits_in_flight");
    /// Discrepancies that nobody has resolved, by shop and kind.
    discrepancies_open: GaugeVec("reconciler_discrepancies_open", ["shop", "kind"]);
    /// Items that the database refused alone; each is kept for a person to look at.
    quarantine: IntCounter("reconciler_quarantine_total");
    /// Messages to subscribers that are not delivered yet.
    outbox_pending: Gauge("reconciler_outbox_pending");
    /// Messages to subscribers that were tried, by subscriber and what came of each try.
    deliveries: IntCounterVec("reconciler_deliveries_total", ["subscriber", "outcome"]);
    /// Whether a subscriber has answered 410 Gone and is told nothing more of a shop: 1 when it has.
    subscriber_disabled: GaugeVec("reconciler_subscriber_disabled", ["shop", "subscriber"]);
    /// Time of HTTP requests to this service, by route template and status.
    http_request: HistogramVec("reconciler_http_request_seconds", ["route", "status"], SLOW_BUCKETS);
    /// Connections that this service closed before their peer did, by listener and reason.
    connections_closed: IntCounterVec("reconciler_connections_closed_total", ["listener", "reason"]);
    /// Items in one group commit.
    ledger_batch_size: Histogram("reconciler_ledger_batch_size", BATCH_SIZE_BUCKETS);
    /// Time of one group commit, from its first lock to its answer.
    ledger_commit: Histogram("reconciler_ledger_commit_seconds", FAST_BUCKETS);
    /// When each sweep last came through, in seconds since 1970; at the start of the process at first.
    sweep_done: GaugeVec("reconciler_sweep_last_success_timestamp_seconds", ["sweep"]);
    /// What was dropped since it was older than it is kept: events, and whole months of evidence.
    retention_dropped: IntCounterVec("reconciler_retention_dropped_total", ["what"]);
    /// Months after this one for which there is a partition of evidence.
    evidence_months_ahead: Gauge("reconciler_evidence_months_ahead");
    /// Rows of evidence in the default partition that belong into a month of their own, a thousand at most.
    evidence_default_rows: Gauge("reconciler_evidence_default_rows");
    /// Whether the database took writes when it was last looked at: 1 when it did.
    database_writable: IntGauge("reconciler_database_writable");
    /// Whether a commit is of unknown fate that no later one covers: 1 when there is one.
    database_unconfirmed: IntGauge("reconciler_database_unconfirmed");
    /// Waits for the database that were given up and cancelled at the server.
    database_given_up: IntCounter("reconciler_database_waits_given_up_total");
    /// How far the gateway's clock is ahead of ours, in seconds, by the last `Date` header (`header`) or by the last
    /// webhook that was dated ahead of its receipt (`body`). Negative: behind.
    clock_skew: GaugeVec("reconciler_gateway_clock_skew_seconds", ["shop", "source"]);
    /// The difference of clocks that the proofs allow for, in seconds: `follow.clock_tolerance`.
    clock_tolerance: Gauge("reconciler_clock_tolerance_seconds");
    /// Whether nothing is submitted because the database may lack commits: 1 when so.
    submits_withheld: IntGauge("reconciler_submits_withheld");
    /// After a restore, until when each transaction is looked up before it is submitted, in seconds since 1970; 0
    /// when none is.
    lookups_first_until: Gauge("reconciler_lookups_before_submits_until_timestamp_seconds");
    /// Always 1; the labels say which build this is.
    build_info: IntGaugeVec("reconciler_build_info", ["version", "revision"]);
}

impl Metrics {
    /// A registry of its own with everything registered, so that tests do not meet.
    pub fn new() -> Self {
        #[expect(
            clippy::expect_used,
            reason = "fails only on a name or label that is wrong in the table above"
        )]
        let metrics = Self::build().expect("the table of metrics is consistent");
        #[cfg(target_os = "linux")]
        {
            // Another process collector in the same registry is the only way to fail.
            let process = prometheus::process_collector::ProcessCollector::for_self();
            let _already_there = metrics.registry.register(Box::new(process));
        }
        metrics
            .build_info
            .with_label_values(&[VERSION, REVISION])
            .set(1);
        metrics
    }

    /// Everything in the text format of Prometheus. A family that has no value yet is
    /// there with its help and type, so that a missing name always means a wrong name.
    pub fn render(&self) -> String {
        let gathered = self.registry.gather();
        let mut text = TextEncoder::new()
            .encode_to_string(&gathered)
            .unwrap_or_default();
        let present: BTreeSet<&str> = gathered.iter().map(|family| family.name()).collect();
        for family in &self.families {
            if !present.contains(family.name) {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "# HELP {} {}", family.name, family.help);
                let _ = writeln!(text, "# TYPE {} {}", family.name, family.kind);
            }
        }
        text
    }

    /// Counts a webhook that was answered. `shop` must be one that is configured.
    pub fn webhook(&self, shop: &str, outcome: &'static str) {
        self.webhooks.with_label_values(&[shop, outcome]).inc();
    }

    /// Records how long a webhook took until it was committed.
    pub fn webhook_committed(&self, took: Duration) {
        self.webhook_commit.observe(took.as_secs_f64());
    }

    /// Counts a piece of evidence.
    pub fn evidence(&self, channel: &'static str, verdict: &'static str) {
        self.evidence.with_label_values(&[channel, verdict]).inc();
    }

    /// Counts and times one request to the gateway.
    pub fn gateway_request(
        &self,
        shop: &str,
        operation: &'static str,
        outcome: &'static str,
        took: Duration,
    ) {
        self.gateway_requests
            .with_label_values(&[shop, operation, outcome])
            .inc();
        self.gateway_request
            .with_label_values(&[operation])
            .observe(took.as_secs_f64());
    }

    /// Records how long a request waited for the shop's budget.
    pub fn budget_waited(&self, waited: Duration) {
        self.gateway_budget_wait.observe(waited.as_secs_f64());
    }

    /// Says whether a shop's requests are held back.
    pub fn set_breaker_open(&self, shop: &str, open: bool) {
        self.breaker_open
            .with_label_values(&[shop])
            .set(i64::from(open));
    }

    /// Says whether submits of a shop are held back since the gateway refuses its key.
    pub fn set_key_refused(&self, shop: &str, refused: bool) {
        self.key_refused
            .with_label_values(&[shop])
            .set(i64::from(refused));
    }

    /// Records a transaction that became final.
    pub fn finalized(&self, r#type: &'static str, channel: &'static str, took: Duration) {
        self.time_to_final
            .with_label_values(&[r#type, channel])
            .observe(took.as_secs_f64());
    }

    /// Counts a lease that was lost to another worker.
    pub fn lease_lost(&self) {
        self.lease_lost.inc();
    }

    /// Counts a submit as on the wire until the guard is dropped.
    #[must_use = "the submit counts as on the wire while the guard lives"]
    pub fn submit_in_flight(&self) -> InFlightGuard {
        self.submits_in_flight.inc();
        InFlightGuard(self.submits_in_flight.clone())
    }

    /// Counts an item that was put aside.
    pub fn quarantined(&self) {
        self.quarantine.inc();
    }

    /// Times one HTTP request. `route` is the template, never the path.
    pub fn http_request(&self, route: &str, status: u16, took: Duration) {
        self.http_request
            .with_label_values(&[route, &status.to_string()])
            .observe(took.as_secs_f64());
    }

    /// Counts a connection that was closed from this side.
    pub fn connection_closed(&self, listener: &'static str, reason: &'static str) {
        self.connections_closed
            .with_label_values(&[listener, reason])
            .inc();
    }

    /// Records one group commit.
    pub fn ledger_committed(&self, items: usize, took: Duration) {
        self.ledger_batch_size.observe(items as f64);
        self.ledger_commit.observe(took.as_secs_f64());
    }

    /// Replaces what is known of open transactions; what is not named falls to 0.
    pub fn set_open(&self, rows: &[OpenTransactions]) {
        let counts = rows
            .iter()
            .map(|row| ([&*row.shop, &*row.state], row.count as f64));
        replace(
            &self.transactions_open,
            &self.levels.transactions_open,
            counts,
        );
        let ages = rows
            .iter()
            .map(|row| ([&*row.shop, &*row.state], row.oldest.as_secs_f64()));
        replace(&self.oldest_open, &self.levels.oldest_open, ages);
    }

    /// Replaces the money in doubt by shop, currency and type; what is not named falls to 0.
    pub fn set_money_in_doubt(&self, rows: &[MoneyInDoubt]) {
        let sums = rows
            .iter()
            .map(|row| ([&*row.shop, &*row.currency, &*row.kind], row.value as f64));
        replace(&self.money_in_doubt, &self.levels.money_in_doubt, sums);
    }

    /// Replaces the open discrepancies by shop and kind; what is not named falls to 0.
    pub fn set_discrepancies_open(&self, rows: &[ShopGauge]) {
        replace(
            &self.discrepancies_open,
            &self.levels.discrepancies_open,
            gauge_values(rows),
        );
    }

    /// Sets how many checks are due and how late the most overdue one is.
    pub fn set_checks(&self, due: i64, lag: Duration) {
        self.checks_due.set(due as f64);
        self.check_lag.set(lag.as_secs_f64());
    }

    /// Counts a try to deliver a message. `subscriber` must be one that is configured.
    pub fn delivery(&self, subscriber: &str, outcome: &'static str) {
        self.deliveries
            .with_label_values(&[subscriber, outcome])
            .inc();
    }

    /// Replaces which subscribers are told nothing more; what is not named falls to 0.
    pub fn set_subscribers_disabled(&self, rows: &[ShopGauge]) {
        replace(
            &self.subscriber_disabled,
            &self.levels.subscriber_disabled,
            gauge_values(rows),
        );
    }

    /// Notes that a sweep came through, so long after the beginning of 1970.
    pub fn sweep_succeeded(&self, sweep: &'static str, at: Duration) {
        self.sweep_done
            .with_label_values(&[sweep])
            .set(at.as_secs_f64());
    }

    /// Counts what was dropped since it was older than it is kept.
    pub fn dropped(&self, what: &'static str, number: u64) {
        self.retention_dropped
            .with_label_values(&[what])
            .inc_by(number);
    }

    /// Sets for how many months after this one evidence has a place of its own.
    pub fn set_evidence_months_ahead(&self, months: i64) {
        self.evidence_months_ahead.set(months as f64);
    }

    /// Sets how many rows of evidence lie in the default partition by mistake.
    pub fn set_evidence_default_rows(&self, rows: i64) {
        self.evidence_default_rows.set(rows as f64);
    }

    /// Sets how the database stands.
    pub fn set_database(&self, is_writable: bool, is_unconfirmed: bool, given_up: u64) {
        self.database_writable.set(i64::from(is_writable));
        self.database_unconfirmed.set(i64::from(is_unconfirmed));
        let counted = self.database_given_up.get();
        self.database_given_up
            .inc_by(given_up.saturating_sub(counted));
    }

    /// Sets the difference of clocks that is allowed for.
    pub fn set_clock_tolerance(&self, tolerance: Duration) {
        self.clock_tolerance.set(tolerance.as_secs_f64());
    }

    /// Sets how far the gateway's clock is ahead of ours, in microseconds. A header has whole seconds: what is within
    /// one is no difference.
    pub fn set_clock_skew(&self, shop: &str, source: &'static str, ahead: i64) {
        let ahead = if ahead.abs() <= 1_000_000 { 0 } else { ahead };
        let ahead = ahead as f64 / 1e6;
        self.clock_skew
            .with_label_values(&[shop, source])
            .set(ahead);
    }

    /// Sets whether submits are withheld, and until when each is looked up first, in seconds since 1970.
    pub fn set_history(&self, is_withheld: bool, lookups_until: f64) {
        self.submits_withheld.set(i64::from(is_withheld));
        self.lookups_first_until.set(lookups_until);
    }

    /// Sets how many messages wait for delivery.
    pub fn set_outbox_pending(&self, pending: i64) {
        self.outbox_pending.set(pending as f64);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A submit that counts as on the wire until this is dropped.
#[derive(Debug)]
pub struct InFlightGuard(IntGauge);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The head of a family, for when it has no values yet.
struct MetricFamily {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
}

impl MetricFamily {
    fn of(name: &'static str, help: &'static str, metric: &impl Collector) -> Self {
        use prometheus::proto::MetricType;
        let kind = match metric
            .collect()
            .first()
            .map(|family| family.get_field_type())
        {
            Some(MetricType::COUNTER) => "counter",
            Some(MetricType::GAUGE) => "gauge",
            Some(MetricType::HISTOGRAM) => "histogram",
            Some(MetricType::SUMMARY) => "summary",
            Some(MetricType::UNTYPED) | None => "untyped",
        };
        Self { name, help, kind }
    }
}

#[cfg(test)]
mod tests;
