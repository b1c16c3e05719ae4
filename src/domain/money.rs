//! Money: integers in minor units, always with a currency.

use serde::{Deserialize, Serialize};
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

/// How many decimal places the minor unit of a currency has **at the gateway**.
///
/// The gateway's table differs from ISO 4217 for some currencies; a factor of a hundred lies in
/// the difference, so that the table can be overridden per shop.
pub fn gateway_exponent(currency: Currency) -> u8 {
    const NONE: &[&str] = &[
        "BIF", "BYR", "CLF", "CLP", "CVE", "DJF", "GNF", "IDR", "IQD", "IRR", "ISK", "JPY", "KMF",
        "KPW", "KRW", "LAK", "LBP", "MMK", "PYG", "RWF", "SLL", "STD", "UYI", "VND", "VUV", "XAF",
        "XOF", "XPF",
    ];
    match currency.as_str() {
        code if NONE.contains(&code) => 0,
        "MOP" => 1,
        "BHD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

/// How many decimal places ISO 4217 gives; `None` for a code that it does not list.
pub fn iso_exponent(currency: Currency) -> Option<u8> {
    iso_currency::Currency::from_code(currency.as_str())
        .map(|c| c.exponent().and_then(|e| u8::try_from(e).ok()).unwrap_or(0))
}
