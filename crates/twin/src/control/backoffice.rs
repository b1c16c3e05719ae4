//! Control API for actions in the gateway's back office: create transactions without a request,
//! correct them, and send their webhooks again.

use std::sync::Arc;

use actix_web::web::{Bytes, Data, Path};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{ControlError, ControlResult, ok_response, parse};
use crate::clock::truncate_to_millis;
use crate::form::Form;
use crate::random::{generator, uuid};
use crate::render;
use crate::script::WebhookScript;
use crate::server::Twin;
use crate::state::{ParentHold, SimulatorState};
use crate::transactions::{RequestDetails, SimTransaction, StatusTransition, TransactionKind};

/// Returns the true state of a transaction: the version 2 body and its hidden fields.
pub fn to_json(world: &SimulatorState, of: &SimTransaction) -> Value {
    let mut shown = render::listed(of, &world.origin, false, &world.switches);
    shown["shop"] = json!(&*of.shop);
    shown["hidden"] = json!(of.hidden);
    shown["notification_url"] = json!(of.details.notification_url);
    shown
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateTransactionRequest {
    shop: Option<String>,
    uid: Option<String>,
    #[serde(rename = "type", default = "payment")]
    kind: TransactionKind,
    #[serde(default = "successful")]
    status: String,
    amount: i64,
    currency: String,
    tracking_id: Option<String>,
    parent_uid: Option<String>,
    description: Option<String>,
    reason: Option<String>,
    code: Option<String>,
    message: Option<String>,
    notification_url: Option<String>,
    #[serde(default)]
    test: bool,
    created_at: Option<String>,
    #[serde(default)]
    created_offset_seconds: f64,
    #[serde(default)]
    notify: bool,
    #[serde(default)]
    v3: bool,
    webhook: Option<WebhookScript>,
    #[serde(default)]
    form: Form,
    #[serde(default)]
    fields: Map<String, Value>,
}

fn payment() -> TransactionKind {
    TransactionKind::Payment
}

fn successful() -> String {
    "successful".to_owned()
}

/// Creates a transaction without a request of the merchant.
pub async fn create(twin: Data<Twin>, body: Bytes) -> ControlResult {
    let create: CreateTransactionRequest = parse(&body)?;
    let made = twin.with(|world| {
        let shop = shop(world, create.shop.as_deref())?;
        let created = match &create.created_at {
            None => truncate_to_millis(world.stamp + seconds(create.created_offset_seconds)?),
            Some(text) => OffsetDateTime::parse(text, &Rfc3339)
                .map_err(|error| ControlError::bad_request(format!("created_at: {error}")))?,
        };
        let notify = create.notify;
        let transaction = created_transaction(world, shop, create, created);
        if world.transactions.contains_key(&transaction.uid) {
            return Err(ControlError::bad_request("uid already exists"));
        }
        if let Some(parent) = &transaction.parent_uid {
            let uids = vec![transaction.uid.clone()];
            let claim = ParentHold {
                uids,
                amount: transaction.amount,
                kind: transaction.kind,
            };
            world.claims.entry(parent.clone()).or_default().push(claim);
        }
        let uid = transaction.uid.clone();
        world.insert(transaction);
        if notify {
            world.enqueue_webhooks(world.now, &uid);
        }
        Ok(describe(world, &uid))
    })?;
    ok_response(made)
}

fn created_transaction(
    world: &mut SimulatorState,
    shop: Arc<str>,
    create: CreateTransactionRequest,
    created: OffsetDateTime,
) -> SimTransaction {
    let number = world.count_hit("back office", &shop, "").to_string();
    let uid = create
        .uid
        .unwrap_or_else(|| uuid(&mut generator(world.seed, &["back office", &shop, &number])));
    let details = RequestDetails {
        description: create
            .description
            .or_else(|| Some("Made in the back office".to_owned())),
        reason: create.reason,
        test: create.test,
        notification_url: create.notification_url,
        ..RequestDetails::default()
    };
    let mut transaction = SimTransaction {
        uid,
        shop,
        kind: create.kind,
        tracking_id: create.tracking_id,
        parent_uid: create.parent_uid,
        status: String::new(),
        code: None,
        message: None,
        amount: create.amount,
        currency: create.currency,
        details: Arc::new(details),
        created_at: created,
        updated_at: created,
        paid_at: None,
        corrected_at: None,
        appeared: world
            .now
            .saturating_sub(crate::clock::ms(world.switches.lookup_lag)),
        v3: create.v3,
        form: create.form,
        webhook: create.webhook.unwrap_or_default(),
        held: None,
        hidden: false,
        overlay: create.fields,
    };
    let turn = StatusTransition {
        status: &create.status,
        code: create.code.as_deref(),
        message: create.message.as_deref(),
        ..StatusTransition::default()
    };
    transaction.turn(turn, created);
    transaction
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeRequest {
    status: Option<String>,
    code: Option<String>,
    message: Option<String>,
    amount: Option<i64>,
    currency: Option<String>,
    tracking_id: Option<String>,
    notification_url: Option<String>,
    hidden: Option<bool>,
    #[serde(default = "yes")]
    corrected: bool,
    #[serde(default = "yes")]
    touch: bool,
    #[serde(default)]
    notify: bool,
    #[serde(default)]
    fields: Map<String, Value>,
}

fn yes() -> bool {
    true
}

/// Corrects a transaction. Sets its `updated_at`, unless `touch` is false.
pub async fn change(twin: Data<Twin>, uid: Path<String>, body: Bytes) -> ControlResult {
    let change: ChangeRequest = parse(&body)?;
    let notify = change.notify;
    let changed = twin.with(|world| {
        apply(world, &uid, change)?;
        if notify {
            world.enqueue_webhooks(world.now, &uid);
        }
        Ok::<_, ControlError>(describe(world, &uid))
    })?;
    ok_response(changed)
}

fn apply(world: &mut SimulatorState, uid: &str, change: ChangeRequest) -> Result<(), ControlError> {
    let stamp = world.stamp;
    let missing = || ControlError::not_found("no transaction with this uid");
    let transaction = world.transactions.get_mut(uid).ok_or_else(missing)?;
    let before = (transaction.updated_at, transaction.corrected_at);
    if let Some(status) = &change.status {
        let turn = StatusTransition {
            status,
            code: change.code.as_deref(),
            message: change.message.as_deref(),
            amount: change.amount,
            corrected: change.corrected,
        };
        transaction.turn(turn, stamp);
    } else if change.amount.is_some() || change.currency.is_some() || !change.fields.is_empty() {
        transaction.updated_at = stamp.max(transaction.updated_at + time::Duration::MILLISECOND);
        transaction.amount = change.amount.unwrap_or(transaction.amount);
        if change.corrected {
            transaction.corrected_at = Some(transaction.updated_at);
        }
    }
    if !change.touch {
        (transaction.updated_at, transaction.corrected_at) = before;
    }
    if let Some(currency) = change.currency {
        transaction.currency = currency;
    }
    if let Some(hidden) = change.hidden {
        transaction.hidden = hidden;
    }
    if let Some(url) = change.notification_url {
        let details = RequestDetails {
            notification_url: Some(url),
            ..(*transaction.details).clone()
        };
        transaction.details = Arc::new(details);
    }
    transaction.overlay.extend(change.fields);
    if let Some(tracking_id) = change.tracking_id {
        rename(world, uid, tracking_id);
    }
    Ok(())
}

/// Moves a transaction to another tracking ID.
fn rename(world: &mut SimulatorState, uid: &str, tracking_id: String) {
    let Some(transaction) = world.transactions.get_mut(uid) else {
        return;
    };
    let shop = transaction.shop.clone();
    let old = transaction.tracking_id.replace(tracking_id.clone());
    if let Some(old) = old
        && let Some(uids) = world.by_tracking_id.get_mut(&(shop.clone(), old))
    {
        uids.retain(|known| known != uid);
    }
    world
        .by_tracking_id
        .entry((shop, tracking_id))
        .or_default()
        .push(uid.to_owned());
}

fn describe(world: &SimulatorState, uid: &str) -> Value {
    let transaction = world
        .transactions
        .get(uid)
        .map(|found| to_json(world, found));
    json!({"uid": uid, "transaction": transaction})
}

fn seconds(number: f64) -> Result<time::Duration, ControlError> {
    const TEN_YEARS: f64 = 3.2e8;
    if number.abs() <= TEN_YEARS {
        return Ok(time::Duration::seconds_f64(number));
    }
    Err(ControlError::bad_request(
        "offset must be from -320000000 to 320000000 seconds",
    ))
}

/// Returns the shop that a control request names; the first shop if it names none.
pub fn shop(world: &SimulatorState, name: Option<&str>) -> Result<Arc<str>, ControlError> {
    let found = match name {
        Some(name) => world.shops.get(name),
        None => world.shops.values().next(),
    };
    found
        .map(|(shop, _)| shop.clone())
        .ok_or_else(|| ControlError::bad_request("unknown shop"))
}
