//! Findings on their way into the store.

use crate::store::{DiscrepancyRow, StoredTransaction};
use crate::view::DiscrepancyView;
use domain::{Discrepancy, DiscrepancyKind, Timestamp};
use uuid::Uuid;
use words::DiscrepancyStatus;

/// A finding about a transaction.
pub(crate) fn transaction_discrepancy(
    stored: &StoredTransaction,
    finding: &Discrepancy,
    at: Timestamp,
) -> DiscrepancyRow {
    let uid = finding.uid.as_ref().map(ToString::to_string);
    DiscrepancyRow {
        id: Uuid::now_v7(),
        kind: finding.kind,
        is_open: true,
        transaction_id: Some(stored.record.id),
        tracking_id: stored.opening.tracking_id.as_ref().map(ToString::to_string),
        subject: uid.clone().unwrap_or_default(),
        uid,
        amount: stored.opening.amount,
        currency: stored.opening.currency.map(|c| c.to_string()),
        detail: finding.detail.clone(),
        uids: finding.uids.clone(),
        opened_at: at,
        resolved_at: None,
        resolved_by: None,
        reason: None,
    }
}

/// A finding about no transaction of ours.
pub(crate) fn about_shop(
    kind: DiscrepancyKind,
    subject: &str,
    detail: &str,
    at: Timestamp,
) -> DiscrepancyRow {
    DiscrepancyRow {
        id: Uuid::now_v7(),
        kind,
        is_open: true,
        transaction_id: None,
        tracking_id: None,
        uid: None,
        subject: subject.to_owned(),
        amount: None,
        currency: None,
        detail: detail.to_owned(),
        uids: Vec::new(),
        opened_at: at,
        resolved_at: None,
        resolved_by: None,
        reason: None,
    }
}

/// A finding as the outside sees it.
pub fn view(row: &DiscrepancyRow) -> DiscrepancyView {
    DiscrepancyView {
        id: row.id,
        kind: row.kind.as_str(),
        status: if row.is_open {
            DiscrepancyStatus::Open.as_str()
        } else {
            DiscrepancyStatus::Resolved.as_str()
        },
        tracking_id: row.tracking_id.clone(),
        uid: row.uid.clone(),
        amount: row.amount,
        currency: row.currency.clone(),
        detail: row.detail.clone(),
        uids: row.uids.clone(),
        opened_at: row.opened_at,
        resolved_at: row.resolved_at,
        resolved_by: row.resolved_by.clone(),
        reason: row.reason.clone(),
    }
}
