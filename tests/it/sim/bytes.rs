//! What happens to the bytes of an answer on their way, or where they are made.

use super::grammar::{Bytes, Channel, Row};
use serde_json::Value;

/// How the bytes end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BytesEnd {
    Whole,
    /// The connection broke off after them.
    Broken,
}

/// Stands in a body where its bytes are to be changed.
pub const MARK: &str = "@mark@";

/// What happens to the bytes.
pub fn of(row: &Row, body: &Value) -> (Vec<u8>, BytesEnd) {
    let text = body.to_string();
    let marked = |with: &[u8]| replaced(text.as_bytes(), MARK.as_bytes(), with);
    let plain = || marked(b"Order 17");
    match row.get() {
        Bytes::Whole => (plain(), BytesEnd::Whole),
        Bytes::CutAfter => (plain(), BytesEnd::Broken),
        Bytes::CutWithin => {
            let mut body = plain();
            body.truncate(body.len() * 3 / 5);
            let end = if row.is(Channel::Webhook) {
                BytesEnd::Whole
            } else {
                BytesEnd::Broken
            };
            (body, end)
        }
        Bytes::Bom => (
            [b"\xEF\xBB\xBF", plain().as_slice()].concat(),
            BytesEnd::Whole,
        ),
        Bytes::BadByte => (marked(b"caf\xE9 17"), BytesEnd::Whole),
        Bytes::HalfSurrogate => (marked(b"Order \\ud83d"), BytesEnd::Whole),
        Bytes::Cp1251 => (marked(b"\xC7\xE0\xEA\xE0\xE7 17"), BytesEnd::Whole),
        Bytes::Utf16 => {
            let units = text.replace(MARK, "Order 17");
            let units = units.encode_utf16().flat_map(u16::to_le_bytes);
            (
                b"\xFF\xFE".iter().copied().chain(units).collect(),
                BytesEnd::Whole,
            )
        }
        Bytes::DuplicateKey => (
            marked(b"Order 17\",\"extra\":1,\"extra\":\"2"),
            BytesEnd::Whole,
        ),
        Bytes::Gzip => (gzip(&plain()), BytesEnd::Whole),
        Bytes::Long => {
            let mut body = marked(&vec![b'x'; 1_153_434]);
            body.push(b'\n');
            (body, BytesEnd::Whole)
        }
        Bytes::Html => {
            let page = b"<html><head><title>Bad Gateway</title></head><body></body></html>";
            (page.to_vec(), BytesEnd::Whole)
        }
        Bytes::Empty => (Vec::new(), BytesEnd::Whole),
    }
}

fn replaced(text: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    let at = text.windows(what.len()).position(|window| window == what);
    match at {
        Some(at) => [&text[..at], with, &text[at + what.len()..]].concat(),
        None => text.to_vec(),
    }
}

/// A gzip stream of one stored block: nobody needs it small.
fn gzip(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(body);
    out.extend(crc32(body).to_le_bytes());
    out.extend(u32::from(length).to_le_bytes());
    out
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_gzip() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}
