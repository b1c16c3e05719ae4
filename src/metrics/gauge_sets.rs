//! Values that are replaced as a whole: what is no longer named falls to 0 instead of
//! staying at its last value or vanishing, so that an alert on it ends.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::GaugeVec;

/// Open transactions of one shop in one state.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenTransactions {
    /// The shop.
    pub shop: String,
    /// Our state.
    pub state: String,
    /// How many there are.
    pub count: i64,
    /// The age of the oldest.
    pub oldest: Duration,
}

/// One value of a level with two labels: shop, then state, kind or currency.
#[derive(Clone, Debug, PartialEq)]
pub struct ShopGauge {
    /// The shop.
    pub shop: String,
    /// The second label.
    pub label: String,
    /// The value.
    pub value: i64,
}

/// Money in doubt at one shop, in one currency and of one type of transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct MoneyInDoubt {
    /// The shop.
    pub shop: String,
    /// The currency; empty where it is not known.
    pub currency: String,
    /// The type of transaction.
    pub kind: String,
    /// How much, in minor units.
    pub value: i64,
}

/// Label sets that have been shown.
type KnownLabels<const N: usize = 2> = Mutex<BTreeSet<[String; N]>>;

/// The label sets that each level has shown.
#[derive(Default)]
pub(super) struct GaugeSets {
    pub(super) transactions_open: KnownLabels,
    pub(super) oldest_open: KnownLabels,
    pub(super) money_in_doubt: KnownLabels<3>,
    pub(super) discrepancies_open: KnownLabels,
    pub(super) subscriber_disabled: KnownLabels,
}

/// The rows as labels and values.
pub(super) fn gauge_values(rows: &[ShopGauge]) -> impl Iterator<Item = ([&str; 2], f64)> {
    rows.iter()
        .map(|row| ([&*row.shop, &*row.label], row.value as f64))
}

/// Sets the gauge to exactly these rows; label sets seen before and not named become 0.
pub(super) fn replace<'a, const N: usize>(
    gauge: &GaugeVec,
    seen: &KnownLabels<N>,
    rows: impl Iterator<Item = ([&'a str; N], f64)>,
) {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let mut named = BTreeSet::new();
    for (labels, value) in rows {
        gauge.with_label_values(&labels).set(value);
        named.insert(labels.map(str::to_owned));
    }
    for labels in seen.difference(&named) {
        gauge.with_label_values(labels).set(0.0);
    }
    seen.extend(named);
}
