//! Where a list goes on: the last id of a page, opaque to callers.
//!
//! What it deliberately cannot do: hide or prove anything. A cursor names a row of a list that its
//! holder may read anyway; the check sum only tells a mangled cursor from a good one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::ShopId;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Which list a cursor belongs to; one list's cursor is no good for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// Transactions.
    Transactions,
    /// Findings.
    Discrepancies,
}

impl ListKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Transactions => "transactions",
            Self::Discrepancies => "discrepancies",
        }
    }
}

const CHECKSUM_LEN: usize = 6;

/// Writes the cursor that continues after `last`.
pub fn encode(list: ListKind, shop: &ShopId, last: Uuid) -> String {
    let mut bytes = last.as_bytes().to_vec();
    bytes.extend_from_slice(&check(list, shop, last));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor back. `None` when it is not one of this list and shop.
pub fn decode(list: ListKind, shop: &ShopId, text: &str) -> Option<Uuid> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (id, given) = bytes.split_at_checked(16)?;
    let id = Uuid::from_slice(id).ok()?;
    (given == check(list, shop, id)).then_some(id)
}

fn check(list: ListKind, shop: &ShopId, id: Uuid) -> [u8; CHECKSUM_LEN] {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(list.word())
        .chain_update([0])
        .chain_update(shop.as_str())
        .chain_update([0])
        .chain_update(id.as_bytes())
        .finalize()
        .into();
    let mut check = [0; CHECKSUM_LEN];
    check.copy_from_slice(&digest[..CHECKSUM_LEN]);
    check
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_fits_its_list_alone() {
        let (shop, other) = (
            ShopId::parse("1001").unwrap(),
            ShopId::parse("1002").unwrap(),
        );
        let id = Uuid::now_v7();
        let cursor = encode(ListKind::Transactions, &shop, id);
        assert_eq!(decode(ListKind::Transactions, &shop, &cursor), Some(id));
        assert_eq!(decode(ListKind::Discrepancies, &shop, &cursor), None);
        assert_eq!(decode(ListKind::Transactions, &other, &cursor), None);
    }

    #[test]
    fn no_other_text_is_a_cursor() {
        let shop = ShopId::parse("1001").unwrap();
        let cursor = encode(ListKind::Transactions, &shop, Uuid::now_v7());
        for at in 0..cursor.len() {
            let mut mangled = cursor.clone().into_bytes();
            mangled[at] = if mangled[at] == b'A' { b'B' } else { b'A' };
            let mangled = String::from_utf8(mangled).unwrap();
            assert_eq!(
                decode(ListKind::Transactions, &shop, &mangled),
                None,
                "{mangled}"
            );
        }
        for text in ["", "A", "====", "ж", &cursor[1..], &format!("{cursor}A")] {
            assert_eq!(decode(ListKind::Transactions, &shop, text), None, "{text}");
        }
    }
}
