//! `reconciler probe`: tests undocumented gateway behaviour on a live shop with test transactions,
//! and records what it observes.
//!
//! Invariant: every transaction that the probe sends has `"test": true`, a tracking ID made for it
//! (`probe-` and a UUID), no notification address, and no ledger entry. The rule that nothing is
//! sent twice protects merchants' transactions only, so the probe may repeat its own requests. The
//! first transaction is followed to its final status before any other is sent. If the gateway does
//! not mark it as a test, the probe stops.
//!
//! Not responsible for: transactions of others, choosing a test card, or settings. The recorded
//! capabilities (`docs/probe.md`) are read by the proof of absence and by people; nothing is sent
//! because of them.

mod children;
mod errors;
mod payments;
mod queries;
mod report;
mod session;

pub use report::{ProbeReport, ProbeResult, QUESTIONS, Question, SentTransaction};

use crate::config::{Config, ShopConfig};
use crate::store::{Store, StoreError, shop_controls};
use domain::{Currency, ShopId, Snapshot, TransactionType};
use gateway::{ClientError, GatewayClient};
use leaves::clock;
use report::ProbeNotes;
use serde_json::{Map, Value, json};
use session::ProbeSession;
use std::time::Duration;
use uuid::Uuid;

/// The card that the probe pays with.
#[derive(Clone)]
pub enum TestCard {
    /// The test card numbers in the gateway's documentation.
    Documented,
    /// Tokens of test cards.
    Token {
        /// Token of a card that is accepted.
        good: String,
        /// Token of a card that is declined, if there is one.
        declined: Option<String>,
    },
}

/// Parameters of a probe run.
#[derive(Clone)]
pub struct ProbeOptions {
    /// Card to pay with.
    pub card: TestCard,
    /// Currency of the test transactions.
    pub currency: Currency,
    /// Approximate amount of each transaction, in minor units. Each transaction has a different
    /// amount, so that the gateway's duplicate check applies only where it is tested.
    pub amount: i64,
    /// Maximum wait for one task.
    pub patience: Duration,
}

/// Reason why the probe stopped early. Results obtained before that are reported.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The gateway did not mark the first transaction as a test.
    #[error(
        "the gateway does not mark transaction {uid} as a test although it was sent as one; \
             nothing else was sent; ask the gateway to reverse that transaction"
    )]
    NotATest {
        /// Identifier of the transaction at the gateway.
        uid: String,
    },
    /// The first payment could not be sent or had no final status.
    #[error("the first test payment failed: {0}")]
    NoPayment(String),
    /// Submits of the shop are paused.
    #[error("submits of this shop are paused")]
    Paused,
    /// The database.
    #[error("database error")]
    Store(#[from] StoreError),
    /// The HTTP client for the gateway could not be created.
    #[error("failed to create the gateway client")]
    Client(#[from] ClientError),
}

/// Returns one line for each kind of request that the probe will send.
pub fn plan(options: &ProbeOptions) -> Vec<String> {
    let mut lines = vec![
        "a test payment; the probe stops unless the gateway marks it as a test".to_owned(),
        "a second payment, sent three times under one RequestID".to_owned(),
        "two equal payments in quick succession, for the duplicate check".to_owned(),
        "a refund of a transaction that does not exist, to provoke a refusal".to_owned(),
        "a partial refund of the first payment".to_owned(),
        "two test authorizations: one captured, one voided".to_owned(),
        "lookups, two status queries and a balance query, which move no money".to_owned(),
    ];
    let declines = match &options.card {
        TestCard::Documented => true,
        TestCard::Token { declined, .. } => declined.is_some(),
    };
    if declines {
        lines.insert(2, "a test payment with a card that is declined".to_owned());
    }
    lines
}

/// A test payment with a final status.
#[derive(Debug, Clone)]
struct TestPayment {
    tracking_id: String,
    snapshot: Snapshot,
}

/// State of a probe run.
struct Probe {
    talk: ProbeSession,
    notes: ProbeNotes,
    options: ProbeOptions,
    /// Number of amounts used so far.
    used: i64,
}

/// Runs the probe and records the observed capabilities.
///
/// The report also lists the questions that stay open, and the reason if the probe stopped early.
pub async fn run(
    config: &Config,
    shop: &ShopConfig,
    id: &ShopId,
    store: &Store,
    options: ProbeOptions,
) -> Result<ProbeReport, ProbeError> {
    if shop.submits.is_stopped() || shop_controls::is_paused(store, id).await? {
        return Err(ProbeError::Paused);
    }
    shop_controls::ensure_rows(store, std::slice::from_ref(&shop.id)).await?;
    let client = GatewayClient::new(&config.gateway.client())?;
    let mut probe = Probe {
        talk: ProbeSession::new(client, store.clone(), shop.clone(), id.clone()),
        notes: ProbeNotes::default(),
        options,
        used: 0,
    };
    let stopped = probe.ask_everything().await.err();
    probe.headers();
    let report = ProbeReport::of(shop, config, probe.notes, probe.talk.sent, stopped.as_ref());
    if !matches!(stopped, Some(ProbeError::NotATest { .. })) {
        let (dropped, added) = report.capability_changes();
        shop_controls::replace_capabilities(store, id, &dropped, &added).await?;
    }
    Ok(report)
}

impl Probe {
    async fn ask_everything(&mut self) -> Result<(), ProbeError> {
        let paid = self.first_payment().await?;
        self.repeats().await;
        self.decline().await;
        self.refusal().await;
        self.duplicates().await;
        self.refund(&paid).await;
        self.of_authorization(TransactionType::Capture).await;
        self.of_authorization(TransactionType::Void).await;
        self.queries(&paid).await;
        Ok(())
    }

    /// Records whether responses carry `X-Request-Id`.
    fn headers(&mut self) {
        let (with, without) = self.talk.named_answers;
        if with + without > 0 {
            let answer = if without == 0 { "yes" } else { "no" };
            let detail = format!("{with} of {} responses had the header", with + without);
            self.notes.answer("x_request_id", answer, detail);
        }
    }

    /// Returns the request fields of a payment or authorization.
    fn payment(&mut self, tracking_id: &str, declined: bool) -> Map<String, Value> {
        let mut fields = self.fields(tracking_id);
        fields.insert("currency".to_owned(), json!(self.options.currency.as_str()));
        fields.insert("credit_card".to_owned(), self.card(declined));
        fields
    }

    /// Returns the request fields that all transactions of the probe share.
    fn fields(&mut self, tracking_id: &str) -> Map<String, Value> {
        let amount = self.options.amount.saturating_add(self.used);
        self.used += 1;
        let fields = json!({
            "amount": amount,
            "description": "reconciler probe: test transaction, no goods or services",
            "tracking_id": tracking_id,
            "test": true,
        });
        match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }

    fn card(&self, declined: bool) -> Value {
        match &self.options.card {
            TestCard::Documented => {
                let number = if declined {
                    "4005550000000019"
                } else {
                    "4200000000000000"
                };
                json!({
                    "number": number,
                    "verification_value": "123",
                    "holder": "RECONCILER PROBE",
                    "exp_month": "12",
                    "exp_year": (clock::now_utc().year() + 3).to_string(),
                })
            }
            TestCard::Token {
                good,
                declined: other,
            } => {
                let token = other.as_ref().filter(|_| declined).unwrap_or(good);
                json!({ "token": token })
            }
        }
    }
}

/// Returns a new tracking ID of the probe.
fn name() -> String {
    format!("probe-{}", Uuid::new_v4())
}
