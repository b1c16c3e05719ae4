//! `reconciler probe`: asks a live shop what the gateway's documents leave open, with test
//! transactions, and writes down what it was seen to do.
//!
//! The rule that nothing is sent twice is about merchants' transactions. The probe repeats requests
//! on purpose, since that is the question: every transaction that it sends says `"test": true`, has a
//! tracking id made for it (`probe-` and a uuid) and no address for webhooks, and lives past the
//! ledger. The first one is followed to its end before anything else is sent, and unless the gateway
//! calls it a test, the probe stops there.
//!
//! What it deliberately cannot do: touch a transaction that it did not make, run without being told
//! which test card to use, or change a setting. The words it leaves (`docs/probe.md` has them) are
//! read by the proof of absence and by people; nothing is sent because of them.

mod children;
mod errors;
mod payments;
mod queries;
mod report;
mod talk;

pub use report::{Finding, QUESTIONS, Question, Report, Sent};

use crate::config::{Config, ShopConfig, Submits};
use crate::store::{Store, StoreError, controls};
use domain::{Currency, ShopId, Snapshot, TransactionType};
use gateway::{ClientError, GatewayClient};
use leaves::clock;
use report::Notes;
use serde_json::{Map, Value, json};
use std::time::Duration;
use talk::Talk;
use uuid::Uuid;

/// The card that the probe pays with.
#[derive(Clone)]
pub enum Card {
    /// The test cards that the gateway's documents name.
    Documented,
    /// A token of a test card; and one that is declined, if there is one.
    Token {
        /// Of a card that pays.
        good: String,
        /// Of a card that is declined.
        declined: Option<String>,
    },
}

/// What to ask with.
#[derive(Clone)]
pub struct Options {
    /// The card.
    pub card: Card,
    /// The currency.
    pub currency: Currency,
    /// About how much each transaction is about, in minor units; each has an amount of its own, so
    /// that the gateway's duplicate check strikes only where it is asked about.
    pub amount: i64,
    /// The longest wait for one task.
    pub patience: Duration,
}

/// Why the probe stopped before its end. What had been learned until then is told all the same.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The gateway did not say that the first transaction is a test.
    #[error(
        "the gateway does not call transaction {uid} a test although it was sent as one; nothing \
         further was sent: have that transaction undone"
    )]
    NotATest {
        /// Which.
        uid: String,
    },
    /// The first payment did not come to be.
    #[error("the first test payment came to nothing: {0}")]
    NoPayment(String),
    /// The shop's switch.
    #[error("submits of this shop are paused")]
    Paused,
    /// The database.
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    /// The HTTP client.
    #[error("the gateway's client cannot be set up")]
    Client(#[from] ClientError),
}

/// One line for each thing that will be sent.
pub fn plan(options: &Options) -> Vec<String> {
    let mut lines = vec![
        "a test payment, followed to its end; it must be called a test, or nothing more is sent"
            .to_owned(),
        "a second one, sent three times under one RequestID".to_owned(),
        "two equal ones at once, for the duplicate check".to_owned(),
        "a refund of a transaction that does not exist, for the shape of a refusal".to_owned(),
        "a partial refund of the first".to_owned(),
        "two test authorizations: one is captured, one is voided".to_owned(),
        "look-ups, two status queries and a balance query, which move nothing".to_owned(),
    ];
    let declines = match &options.card {
        Card::Documented => true,
        Card::Token { declined, .. } => declined.is_some(),
    };
    if declines {
        lines.insert(2, "a test payment with a card that is declined".to_owned());
    }
    lines
}

/// A test payment that came to its end.
#[derive(Debug, Clone)]
struct Paid {
    tracking_id: String,
    snapshot: Snapshot,
}

/// The probe at work.
struct Probe {
    talk: Talk,
    notes: Notes,
    options: Options,
    /// How many amounts have been used.
    used: i64,
}

/// Asks everything, and notes what the gateway was seen to do. The report has the questions that
/// stay open as well; when the probe stopped early, it says why.
pub async fn run(
    config: &Config,
    shop: &ShopConfig,
    id: &ShopId,
    store: &Store,
    options: Options,
) -> Result<Report, Stop> {
    if shop.submits == Submits::Paused || controls::is_paused(store, id).await? {
        return Err(Stop::Paused);
    }
    controls::ensure(store, std::slice::from_ref(&shop.id)).await?;
    let client = GatewayClient::new(&config.gateway.client())?;
    let mut probe = Probe {
        talk: Talk::new(client, store.clone(), shop.clone(), id.clone()),
        notes: Notes::default(),
        options,
        used: 0,
    };
    let stopped = probe.ask_everything().await.err();
    probe.headers();
    let report = Report::of(shop, config, probe.notes, probe.talk.sent, stopped.as_ref());
    if !matches!(stopped, Some(Stop::NotATest { .. })) {
        let (dropped, added) = report.words();
        controls::note_capabilities(store, id, &dropped, &added).await?;
    }
    Ok(report)
}

impl Probe {
    async fn ask_everything(&mut self) -> Result<(), Stop> {
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

    /// Whether answers name themselves.
    fn headers(&mut self) {
        let (with, without) = self.talk.named_answers;
        if with + without > 0 {
            let answer = if without == 0 { "yes" } else { "no" };
            let detail = format!("{with} of {} answers had the header", with + without);
            self.notes.answer("x_request_id", answer, detail);
        }
    }

    /// The fields of a payment or authorization.
    fn payment(&mut self, tracking_id: &str, declined: bool) -> Map<String, Value> {
        let mut fields = self.fields(tracking_id);
        fields.insert("currency".to_owned(), json!(self.options.currency.as_str()));
        fields.insert("credit_card".to_owned(), self.card(declined));
        fields
    }

    /// What every transaction of the probe says.
    fn fields(&mut self, tracking_id: &str) -> Map<String, Value> {
        let amount = self.options.amount.saturating_add(self.used);
        self.used += 1;
        let fields = json!({
            "amount": amount,
            "description": "reconciler probe: a test, nothing is sold",
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
            Card::Documented => {
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
            Card::Token {
                good,
                declined: other,
            } => {
                let token = other.as_ref().filter(|_| declined).unwrap_or(good);
                json!({ "token": token })
            }
        }
    }
}

/// A tracking id of the probe's own.
fn name() -> String {
    format!("probe-{}", Uuid::new_v4())
}
