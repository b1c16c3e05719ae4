//! Money: integers in minor units, always with a currency.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// An ISO 4217 alphabetic code as the gateway spells it: three capital letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// Parses three ASCII letters; lower case is raised, since the gateway means the same by it.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 3] = text.as_bytes().try_into().ok()?;
        bytes
            .iter()
            .all(u8::is_ascii_alphabetic)
            .then(|| Self(bytes.map(|b| b.to_ascii_uppercase())))
    }

    /// The code.
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

/// The gateway's own table of minor units. It has two decimal places for whatever is not in it.
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

/// What the gateway's table has for everything else.
const GATEWAY_DEFAULT: u8 = 2;

fn in_gateway_table(currency: Currency) -> Option<u8> {
    GATEWAY
        .iter()
        .find(|(_, codes)| codes.contains(&currency.as_str()))
        .map(|(exponent, _)| *exponent)
}

/// How many decimal places the minor unit of a currency has **at the gateway**.
///
/// The gateway's table differs from ISO 4217 for some currencies; a factor of a hundred lies in
/// the difference, so that the table can be overridden per shop: see [`exponent`].
pub fn gateway_exponent(currency: Currency) -> u8 {
    in_gateway_table(currency).unwrap_or(GATEWAY_DEFAULT)
}

/// How many decimal places ISO 4217 gives; `None` for a code that it does not list.
pub fn iso_exponent(currency: Currency) -> Option<u8> {
    iso_currency::Currency::from_code(currency.as_str())
        .map(|c| c.exponent().and_then(|e| u8::try_from(e).ok()).unwrap_or(0))
}

/// Whether a request may name this currency: the codes of ISO 4217, and the old ones that the
/// gateway's table still has (BYR, STD).
pub fn is_known(currency: Currency) -> bool {
    iso_exponent(currency).is_some() || in_gateway_table(currency).is_some()
}

/// What a shop has instead of the gateway's table: decimal places by code.
pub type Overrides = BTreeMap<String, u8>;

/// How many decimal places an amount of a shop has: what the shop's configuration says, else what
/// the gateway's table says. That table answers for every code, by its default where it lists
/// none, so that ISO 4217 is never asked: where it says otherwise, [`disputed`] tells.
pub fn exponent(currency: Currency, overrides: &Overrides) -> u8 {
    overrides
        .get(currency.as_str())
        .copied()
        .unwrap_or_else(|| gateway_exponent(currency))
}

/// The currencies for which the gateway's table and ISO 4217 differ, and about which the shop's
/// configuration says nothing. Those without a minor unit (gold, say) are left out.
pub fn disputed(overrides: &Overrides) -> Vec<Currency> {
    every_code()
        .filter(|currency| !overrides.contains_key(currency.as_str()))
        .filter(|currency| {
            let iso = iso_currency::Currency::from_code(currency.as_str());
            let places = iso.and_then(|iso| iso.exponent());
            places.is_some_and(|places| places != u16::from(gateway_exponent(*currency)))
        })
        .collect()
}

/// The codes that a request may name.
pub fn known_codes() -> impl Iterator<Item = String> {
    every_code()
        .filter(|code| is_known(*code))
        .map(|code| code.to_string())
}

/// All that three letters can spell; the library has no list of its own without a further one.
fn every_code() -> impl Iterator<Item = Currency> {
    let letters = || b'A'..=b'Z';
    letters()
        .flat_map(move |a| letters().flat_map(move |b| letters().map(move |c| Currency([a, b, c]))))
}

/// An amount in minor units as a decimal number: `decimal(3245, 2)` is `32.45`.
pub fn decimal(minor: i64, exponent: u8) -> String {
    let places = usize::from(exponent);
    let sign = if minor < 0 { "-" } else { "" };
    // At least one digit stands before the point.
    let digits = format!("{:0width$}", minor.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    }
}
