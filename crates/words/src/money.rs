//! Money: integers in minor units, always with a currency.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// An ISO 4217 alphabetic code as the gateway spells it: three capital letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// Parses three ASCII letters. Converts lower case, because the gateway treats both alike.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 3] = text.as_bytes().try_into().ok()?;
        bytes
            .iter()
            .all(u8::is_ascii_alphabetic)
            .then(|| Self(bytes.map(|b| b.to_ascii_uppercase())))
    }

    /// Returns the code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Currency {
    type Error = String;
    fn try_from(value: String) -> Result<Self, Self::Error> {
        Self::parse(&value).ok_or_else(|| format!("{value:?} is not a currency code"))
    }
}

impl From<Currency> for String {
    fn from(value: Currency) -> Self {
        value.as_str().to_owned()
    }
}

/// Decimal places in the gateway's table. Unlisted currencies have [`GATEWAY_DEFAULT`].
const GATEWAY: &[(u8, &[&str])] = &[
    (
        0,
        &[
            "BIF", "BYR", "CLF", "CLP", "CVE", "DJF", "GNF", "IDR", "IQD", "IRR", "ISK", "JPY",
            "KMF", "KPW", "KRW", "LAK", "LBP", "MMK", "PYG", "RWF", "SLL", "STD", "UYI", "VND",
            "VUV", "XAF", "XOF", "XPF",
        ],
    ),
    (1, &["MOP"]),
    (3, &["BHD", "JOD", "KWD", "LYD", "OMR", "TND"]),
];

/// Decimal places of currencies that the gateway's table does not list.
const GATEWAY_DEFAULT: u8 = 2;

fn in_gateway_table(currency: Currency) -> Option<u8> {
    GATEWAY
        .iter()
        .find(|(_, codes)| codes.contains(&currency.as_str()))
        .map(|(exponent, _)| *exponent)
}

/// Returns the number of decimal places of a currency **at the gateway**.
///
/// The gateway's table differs from ISO 4217 for some currencies, by a factor of up to 100 or more.
/// [`exponent`] therefore allows a shop to override it.
pub fn gateway_exponent(currency: Currency) -> u8 {
    in_gateway_table(currency).unwrap_or(GATEWAY_DEFAULT)
}

/// Returns the number of decimal places in ISO 4217, or `None` for a code that it does not list.
pub fn iso_exponent(currency: Currency) -> Option<u8> {
    iso_currency::Currency::from_code(currency.as_str())
        .map(|c| c.exponent().and_then(|e| u8::try_from(e).ok()).unwrap_or(0))
}

/// Returns whether a request may use this currency: the codes of ISO 4217, and the old ones in the
/// gateway's table (BYR, STD).
pub fn is_known(currency: Currency) -> bool {
    iso_exponent(currency).is_some() || in_gateway_table(currency).is_some()
}

/// Decimal places by currency code that override the gateway's table for a shop.
pub type ExponentOverrides = BTreeMap<String, u8>;

/// Returns the number of decimal places of a shop's amounts: the configured one, else the
/// gateway's.
///
/// The gateway's table has a value for every code, so ISO 4217 is never used. [`conflicting_exponents`] returns
/// the codes for which they differ.
pub fn exponent(currency: Currency, overrides: &ExponentOverrides) -> u8 {
    overrides
        .get(currency.as_str())
        .copied()
        .unwrap_or_else(|| gateway_exponent(currency))
}

/// Returns the currencies for which the gateway's table and ISO 4217 differ and the shop's
/// configuration has no value. Currencies without a minor unit, such as gold, are left out.
pub fn conflicting_exponents(overrides: &ExponentOverrides) -> Vec<Currency> {
    every_code()
        .filter(|currency| !overrides.contains_key(currency.as_str()))
        .filter(|currency| {
            let iso = iso_currency::Currency::from_code(currency.as_str());
            let places = iso.and_then(|iso| iso.exponent());
            places.is_some_and(|places| places != u16::from(gateway_exponent(*currency)))
        })
        .collect()
}

/// Returns the codes that a request may use.
pub fn known_codes() -> impl Iterator<Item = String> {
    every_code()
        .filter(|code| is_known(*code))
        .map(|code| code.to_string())
}

/// Returns all combinations of three letters; the library lists its codes only with an additional
/// dependency.
fn every_code() -> impl Iterator<Item = Currency> {
    let letters = || b'A'..=b'Z';
    letters()
        .flat_map(move |a| letters().flat_map(move |b| letters().map(move |c| Currency([a, b, c]))))
}

/// Formats an amount in minor units as a decimal number: `decimal(3245, 2)` is `32.45`.
pub fn decimal(minor: i64, exponent: u8) -> String {
    let places = usize::from(exponent);
    let sign = if minor < 0 { "-" } else { "" };
    // At least one digit precedes the point.
    let digits = format!("{:0width$}", minor.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    }
}
