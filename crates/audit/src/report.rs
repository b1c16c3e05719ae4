//! What an audit found, and how it is told: to a person, to a program, to Prometheus.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use uuid::Uuid;
use words::ShopId;
use words::words;

words! {
    /// What differs.
    Kind {
        /// The stored state does not follow from the evidence.
        State = "state",
        /// Another uid is adopted than the evidence names.
        Uid = "uid",
        /// A final state without its time, or the other way round.
        Finality = "finality",
        /// The summary tells otherwise than the evidence.
        Summary = "summary",
        /// Evidence was changed, removed, added or moved.
        Chain = "chain",
        /// The row tells otherwise than the request.
        Opening = "opening",
        /// An open transaction that nothing makes due, or that is due for another state.
        DueCheck = "due_check",
        /// The feed has a gap, or tells otherwise than the transactions.
        Feed = "feed",
        /// A uid whose owner is another transaction, or none.
        Owner = "owner",
        /// An attempt was stamped although another might have been processed.
        SentTwice = "sent_twice",
        /// A proof of absence rests on nothing.
        Proof = "proof",
        /// Something is stored that nobody can read.
        Unreadable = "unreadable",
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// At which shop.
    pub shop: ShopId,
    /// About which transaction; none for the feed and the uids of a shop.
    pub transaction: Option<Uuid>,
    /// The merchant's name for it.
    pub tracking_id: Option<String>,
    /// What differs.
    pub kind: Kind,
    /// In words.
    pub detail: String,
}

/// What an earlier release has decided, and the rules of now would decide otherwise. No difference: it stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// At which shop.
    pub shop: ShopId,
    /// About which transaction.
    pub transaction: Uuid,
    /// The merchant's name for it.
    pub tracking_id: Option<String>,
    /// How it stands.
    pub state: String,
    /// In words.
    pub detail: String,
}

/// How many differences are told one by one; all are counted.
const MAX_LISTED_DIFFERENCES: usize = 1_000;

/// What an audit found.
#[derive(Debug, Default)]
pub struct AuditReport {
    /// The first differences.
    pub differences: Vec<Difference>,
    /// How many there are at each shop, by kind.
    pub counts: BTreeMap<(String, Kind), u64>,
    /// How many transactions were judged, by shop.
    pub transactions: BTreeMap<String, u64>,
    /// How many pieces of evidence were read.
    pub evidence: u64,
    /// How many transactions were left out because their month of evidence is no longer kept.
    pub skipped: u64,
    /// How many stamps were replays under the same `RequestID`.
    pub replays: u64,
    /// What earlier releases have decided otherwise, the first of it.
    pub decided: Vec<Decided>,
    /// How many there are at each shop.
    pub decided_counts: BTreeMap<String, u64>,
    /// How many refusals and proofs of absence earlier releases have recorded, which took fewer look-ups.
    pub older: u64,
}

impl AuditReport {
    /// Whether nothing differs.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// How many differences there are.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(super) fn add(&mut self, difference: Difference) {
        let key = (difference.shop.to_string(), difference.kind);
        *self.counts.entry(key).or_default() += 1;
        if self.differences.len() < MAX_LISTED_DIFFERENCES {
            self.differences.push(difference);
        }
    }

    pub(super) fn tell_apart(&mut self, decided: Decided) {
        *self
            .decided_counts
            .entry(decided.shop.to_string())
            .or_default() += 1;
        if self.decided.len() < MAX_LISTED_DIFFERENCES {
            self.decided.push(decided);
        }
    }

    /// How many transactions earlier releases have decided otherwise than the rules of now would.
    pub fn decided_before(&self) -> u64 {
        self.decided_counts.values().sum()
    }

    fn audited_count(&self) -> u64 {
        self.transactions.values().sum()
    }

    /// A table for a person.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for d in &self.differences {
            let id = d
                .transaction
                .map_or_else(|| "-".to_owned(), |id| id.to_string());
            let name = d.tracking_id.as_deref().unwrap_or("-");
            let _ = writeln!(
                text,
                "{:<12} {:<10} {id:<36} {name}  {}",
                d.kind, d.shop, d.detail
            );
        }
        if self.total() > self.differences.len() as u64 {
            let more = self.total() - self.differences.len() as u64;
            let _ = writeln!(text, "and {more} more");
        }
        for d in &self.decided {
            let name = d.tracking_id.as_deref().unwrap_or("-");
            let (shop, id) = (&d.shop, d.transaction);
            let _ = writeln!(
                text,
                "{:<12} {shop:<10} {id:<36} {name}  {}",
                "decided", d.detail
            );
        }
        if self.decided_before() > 0 {
            let _ = writeln!(
                text,
                "{} transactions were decided by the rules of an earlier release, and stay so until something \
                 outranks that; they are no differences",
                self.decided_before()
            );
        }
        let _ = writeln!(
            text,
            "{} differences in {} transactions and {} pieces of evidence ({} transactions skipped: \
             their evidence is no longer kept; {} replays; {} refusals and proofs by the rules of earlier \
             releases)",
            self.total(),
            self.audited_count(),
            self.evidence,
            self.skipped,
            self.replays,
            self.older
        );
        text
    }

    /// The same for a program.
    pub fn json(&self) -> Value {
        let differences = self.differences.iter().map(|d| {
            json!({
                "shop": d.shop.as_str(),
                "transaction": d.transaction,
                "tracking_id": d.tracking_id,
                "kind": d.kind.as_str(),
                "detail": d.detail,
            })
        });
        let decided = self.decided.iter().map(|d| {
            json!({
                "shop": d.shop.as_str(),
                "transaction": d.transaction,
                "tracking_id": d.tracking_id,
                "state": d.state,
                "detail": d.detail,
            })
        });
        json!({
            "decided_before": self.decided_before(),
            "decided": decided.collect::<Vec<_>>(),
            "total": self.total(),
            "transactions": self.audited_count(),
            "evidence": self.evidence,
            "skipped": self.skipped,
            "replays": self.replays,
            "older": self.older,
            "differences": differences.collect::<Vec<_>>(),
        })
    }

    /// Prometheus text, for the node exporter's textfile collector or a push gateway. A shop with
    /// nothing to tell has a zero for each kind, so that an alert can tell "none" from "not run".
    pub fn metrics(&self, at: i64) -> String {
        let mut text = String::new();
        text.push_str("# HELP reconciler_audit_differences What the last audit found.\n");
        text.push_str("# TYPE reconciler_audit_differences gauge\n");
        for shop in self.transactions.keys() {
            for kind in Kind::ALL {
                let count = self
                    .counts
                    .get(&(shop.clone(), *kind))
                    .copied()
                    .unwrap_or(0);
                let _ = writeln!(
                    text,
                    "reconciler_audit_differences{{shop=\"{shop}\",kind=\"{kind}\"}} {count}"
                );
            }
        }
        text.push_str("# HELP reconciler_audit_transactions How many the last audit judged.\n");
        text.push_str("# TYPE reconciler_audit_transactions gauge\n");
        for (shop, count) in &self.transactions {
            let _ = writeln!(
                text,
                "reconciler_audit_transactions{{shop=\"{shop}\"}} {count}"
            );
        }
        text.push_str(
            "# HELP reconciler_audit_decided_before Those that an earlier release has decided otherwise.\n",
        );
        text.push_str("# TYPE reconciler_audit_decided_before gauge\n");
        for shop in self.transactions.keys() {
            let count = self.decided_counts.get(shop).copied().unwrap_or(0);
            let _ = writeln!(
                text,
                "reconciler_audit_decided_before{{shop=\"{shop}\"}} {count}"
            );
        }
        text.push_str("# HELP reconciler_audit_skipped Those whose evidence is no longer kept.\n");
        text.push_str("# TYPE reconciler_audit_skipped gauge\n");
        let _ = writeln!(text, "reconciler_audit_skipped {}", self.skipped);
        text.push_str("# HELP reconciler_audit_timestamp_seconds When the last audit ended.\n");
        text.push_str("# TYPE reconciler_audit_timestamp_seconds gauge\n");
        let _ = writeln!(text, "reconciler_audit_timestamp_seconds {at}");
        text
    }
}
