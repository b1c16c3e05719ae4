//! The second opinion. It reads what is stored, derives every state again from the evidence by a path
//! of its own, and reports what differs.
//!
//! It shares the words with the service and nothing else: not the fold, not the
//! readers of bodies, not the hash of the chain. Two ways that agree are worth more than one that
//! agrees with itself. What it deliberately cannot do: write, repair, or talk to the gateway.

mod chain;
mod earlier;
mod evidence_reader;
mod gateway_body;
mod history;
mod invariants;
mod local_facts;
mod refusal_table;
mod report;
mod rules;
mod sql;
mod summary;

pub use report::{AuditReport, Decided, Difference, Kind};

use crate::sql::{AuditReader, AuditedEvidence, AuditedTransaction};
use earlier::Earlier;
use evidence_reader::EvidenceItem;
use history::{AuditedRequest, TransactionHistory};
use sqlx::PgPool;
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;
use url::Url;
use uuid::Uuid;
use words::{Origin, ShopId, State, Timestamp, TransactionType};

/// What is to be looked at.
#[derive(Debug, Clone, Default)]
pub struct AuditScope {
    /// One shop alone.
    pub shop: Option<ShopId>,
    /// Transactions that were opened since then. The feed is looked at as a whole.
    pub since: Option<Timestamp>,
    /// The gateway's address, as it is configured: a task may be named by an address alone.
    pub gateway: Option<Url>,
}

/// Why the audit could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A statement failed.
    #[error("the database could not be read")]
    Database(#[from] sqlx::Error),
    /// A row is filed under a shop whose id cannot be one.
    #[error("{0:?} is stored as a shop and cannot be one")]
    Unreadable(String),
}

/// How many transactions are read at one moment. Each page is one READ ONLY transaction, so that an
/// audit of years does not hold back the database's own cleaning.
const PAGE_ROWS: i64 = 200;

/// Audits what the plan names.
pub async fn run(pool: &PgPool, plan: &AuditScope) -> Result<AuditReport, Error> {
    let mut report = AuditReport::default();
    let schema = AuditReader::begin(pool).await?.schema_made_at().await?;
    let shops = match &plan.shop {
        Some(shop) => vec![shop.clone()],
        None => all_shops(&AuditReader::begin(pool).await?.shops().await?)?,
    };
    for shop in &shops {
        report.transactions.insert(shop.to_string(), 0);
        let mut after = plan.since.map_or(Uuid::nil(), first_id_at);
        while let Some(last) = page(pool, (plan, schema), shop, after, &mut report).await? {
            after = last;
        }
        feed(pool, shop, &mut report).await?;
    }
    Ok(report)
}

fn all_shops(names: &[String]) -> Result<Vec<ShopId>, Error> {
    let read = |name: &String| ShopId::parse(name).map_err(|_| Error::Unreadable(name.clone()));
    names.iter().map(read).collect()
}

/// The lowest id that a transaction opened at this moment can have: ids begin with milliseconds.
fn first_id_at(at: Timestamp) -> Uuid {
    let millis = u128::try_from(at.micros() / 1_000).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}

/// Judges the next transactions of a shop. Gives the last id, and `None` when there was none.
async fn page(
    pool: &PgPool,
    (plan, schema): (&AuditScope, Option<Timestamp>),
    shop: &ShopId,
    after: Uuid,
    report: &mut AuditReport,
) -> Result<Option<Uuid>, Error> {
    let mut reader = AuditReader::begin(pool).await?;
    let months: BTreeSet<String> = reader.kept_months().await?.into_iter().collect();
    let rows = reader.page(shop, after, PAGE_ROWS).await?;
    for row in &rows {
        let evidence = reader.evidence(shop, row.id).await?;
        if evidence.is_empty() && row.evidence_count > 0 && !months.contains(&month_of(row.id)) {
            report.skipped += 1;
            continue;
        }
        *report.transactions.entry(shop.to_string()).or_default() += 1;
        report.evidence += evidence.len() as u64;
        let mut found = TransactionAudit { shop, row, report };
        let Some((asked, pieces)) = found.read(&evidence, plan.gateway.as_ref()) else {
            continue;
        };
        let mut uids = history::uids(&pieces);
        uids.extend(row.uid.clone());
        let uids: Vec<String> = uids.into_iter().collect();
        let owners = reader.owners(shop, &uids).await?;
        let owners = owners_for(&asked, owners);
        let made_here = reader.made_here(shop, row.id, &uids).await?;
        let earlier = earlier::of(row, &evidence, &pieces, schema);
        let made_here = made_here.into_iter().collect();
        found.compare_states(&asked, &pieces, (&owners, &made_here), &earlier);
    }
    Ok(rows.last().map(|row| row.id))
}

/// Who owns which uid, as it counts for this transaction: one that was learned of from the gateway gives way
/// to one that was made through us.
fn owners_for(
    asked: &AuditedRequest,
    owners: Vec<(String, Uuid, String)>,
) -> BTreeMap<String, Uuid> {
    let gives_way = |id: &Uuid, origin: &str| {
        asked.origin == Origin::Api && *id != asked.id && origin == Origin::Gateway.as_str()
    };
    owners
        .into_iter()
        .filter(|(_, id, origin)| !gives_way(id, origin))
        .map(|(uid, id, _)| (uid, id))
        .collect()
}

/// The month in which a transaction was opened, as partitions are named: `2026_11`.
fn month_of(id: Uuid) -> String {
    let millis = i64::try_from(id.as_u128() >> 80).unwrap_or(0);
    let at = OffsetDateTime::from(Timestamp::from_micros(millis.saturating_mul(1_000)));
    format!("{:04}_{:02}", at.year(), u8::from(at.month()))
}

/// One transaction under judgement, and where what is found goes.
struct TransactionAudit<'a> {
    shop: &'a ShopId,
    row: &'a AuditedTransaction,
    report: &'a mut AuditReport,
}

impl TransactionAudit<'_> {
    fn add(&mut self, kind: Kind, detail: String) {
        self.report.add(Difference {
            shop: self.shop.clone(),
            transaction: Some(self.row.id),
            tracking_id: self.row.tracking_id.clone(),
            kind,
            detail,
        });
    }

    fn add_all(&mut self, kind: Kind, details: Vec<String>) {
        details
            .into_iter()
            .for_each(|detail| self.add(kind, detail));
    }

    /// Reads the row and its evidence, and checks the chain. `None` when the row says nothing.
    fn read(
        &mut self,
        evidence: &[AuditedEvidence],
        gateway: Option<&Url>,
    ) -> Option<(AuditedRequest, Vec<EvidenceItem>)> {
        self.add_all(Kind::Chain, chain::chain_errors(self.row, evidence));
        let mut pieces = Vec::new();
        for piece in evidence {
            match evidence_reader::read(piece, gateway, TransactionType::parse(&self.row.kind)) {
                Ok(piece) => pieces.push(piece),
                Err(what) => self.add(Kind::Unreadable, what),
            }
        }
        match AuditedRequest::of(self.row) {
            Ok(asked) => Some((asked, pieces)),
            Err(column) => {
                self.add(
                    Kind::Unreadable,
                    format!("the column {column} cannot be read"),
                );
                None
            }
        }
    }

    fn compare_states(
        &mut self,
        asked: &AuditedRequest,
        pieces: &[EvidenceItem],
        (owners, made_here): (&BTreeMap<String, Uuid>, &BTreeSet<String>),
        earlier: &Earlier,
    ) {
        let mut case = TransactionHistory::collect(asked, pieces, owners);
        for id in summary::refused_before(&self.row.summary) {
            if let Some(task) = case
                .tasks
                .get_mut(&id)
                .filter(|task| !task.refusals.is_empty())
            {
                task.refused_before = true;
                self.report.older += 1;
            }
        }
        let older = case.proofs.iter().filter(|proof| proof.attempts.is_empty());
        self.report.older += older.count() as u64;
        let ruled = rules::derive_state(asked, &case, owners);
        let candidates = rules::candidates(asked, &case, owners);
        self.compare(&earlier.stand(self.row, &case, &candidates, &ruled));
        let mut read: Vec<(Kind, String)> = Vec::new();
        let faults = summary::summary_errors(&case, &candidates, &self.row.summary);
        read.extend(faults.into_iter().map(|text| (Kind::Summary, text)));
        let faults = invariants::invalid_absence_proofs(asked, &case, pieces, owners, made_here);
        read.extend(faults.into_iter().map(|text| (Kind::Proof, text)));
        if *earlier == Earlier::No {
            read.extend(self.owned(owners));
            read.into_iter()
                .for_each(|(kind, text)| self.add(kind, text));
        } else {
            if *earlier == Earlier::TakenOver {
                let owned = self.owned(owners).into_iter();
                owned.for_each(|(kind, text)| self.add(kind, text));
            }
            // It was read by the rules of an earlier release: what that makes otherwise is told apart.
            let texts: Vec<String> = read.into_iter().map(|(_, text)| text).collect();
            let line = earlier::line(self.row, &ruled, owners, &texts);
            line.into_iter().for_each(|line| self.tell_apart(line));
        }
        self.add_all(Kind::Opening, invariants::request_mismatches(asked, pieces));
        let (twice, replays) = invariants::duplicate_submits(pieces);
        self.add_all(Kind::SentTwice, twice);
        self.report.replays += replays;
    }

    /// Tells of what an earlier release has decided otherwise than the rules of now.
    fn tell_apart(&mut self, line: String) {
        self.report.tell_apart(Decided {
            shop: self.shop.clone(),
            transaction: self.row.id,
            tracking_id: self.row.tracking_id.clone(),
            state: self.row.state.clone(),
            detail: line,
        });
    }

    /// Compares what is stored with what is to be.
    fn compare(&mut self, outcome: &rules::AuditedState) {
        let row = self.row;
        let derived = outcome.state;
        if row.state != derived.as_str() {
            self.add(
                Kind::State,
                format!("stored is {}, the evidence says {derived}", row.state),
            );
        }
        if row.uid != outcome.uid {
            let name = |uid: &Option<String>| uid.clone().unwrap_or_else(|| "none".to_owned());
            let (stored, derived) = (name(&row.uid), name(&outcome.uid));
            self.add(
                Kind::Uid,
                format!("stored is {stored}, the evidence names {derived}"),
            );
        }
        if row.finalized != derived.is_final() {
            let has = if row.finalized { "a" } else { "no" };
            self.add(
                Kind::Finality,
                format!("{derived} has {has} time of finality"),
            );
        }
        let is_open = State::parse(&row.state).is_some_and(|state| !state.is_final());
        match &row.check_state {
            None if is_open => self.add(Kind::DueCheck, "it is open, and never due".to_owned()),
            Some(state) if *state != row.state => {
                self.add(
                    Kind::DueCheck,
                    format!("it is due as {state}, and stored is {}", row.state),
                );
            }
            _ => {}
        }
    }

    /// Whether the adopted uid is its own.
    fn owned(&self, owners: &BTreeMap<String, Uuid>) -> Option<(Kind, String)> {
        let row = self.row;
        match row.uid.as_ref().map(|uid| owners.get(uid)) {
            Some(Some(owner)) if *owner != row.id => {
                Some((Kind::Owner, format!("the adopted uid belongs to {owner}")))
            }
            Some(None) => Some((Kind::Owner, "the adopted uid belongs to nobody".to_owned())),
            _ => None,
        }
    }
}

/// What belongs to a shop as a whole: its feed, and its uids.
async fn feed(pool: &PgPool, shop: &ShopId, report: &mut AuditReport) -> Result<(), Error> {
    let mut reader = AuditReader::begin(pool).await?;
    let mut add = |kind, transaction, detail| {
        report.add(Difference {
            shop: shop.clone(),
            transaction,
            tracking_id: None,
            kind,
            detail,
        });
    };
    let feed = reader.feed(shop).await?;
    let whole = match (feed.lowest, feed.highest) {
        (Some(lowest), Some(highest)) => lowest == feed.first && highest == feed.last,
        _ => feed.first == feed.last + 1,
    };
    if !whole || feed.count != feed.last - feed.first + 1 {
        let text = format!(
            "{} events, where {} to {} are kept",
            feed.count, feed.first, feed.last
        );
        add(Kind::Feed, None, text);
    }
    let mut odd = reader.shrinking_sequences(shop).await?;
    odd.extend(reader.misleading_events(shop).await?);
    for event in odd {
        add(
            Kind::Feed,
            event.transaction_id,
            format!("event {}: {}", event.seq, event.detail),
        );
    }
    for uid in reader.ownerless_uids(shop).await? {
        add(
            Kind::Owner,
            None,
            format!(
                "uid {uid} belongs to a transaction that is not there, or is filed under another key"
            ),
        );
    }
    Ok(())
}
