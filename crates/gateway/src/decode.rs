//! From the bytes of a body to text that can be read and kept: content codings undone, UTF-16 told from
//! UTF-8, and what is damaged replaced by U+FFFD.
//!
//! A signed success is not to be lost for one bad byte in a field that nobody reads. So bytes become text
//! first, and text that is JSON but for its damage becomes JSON: half an emoji, a raw control character or
//! an escape that does not exist is U+FFFD, a number beyond every number is a text. What reads as JSON by
//! itself is not touched, and costs nothing more.
//!
//! What it deliberately cannot do: complete what was cut off, or guess a code page.

use super::webhook_json;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use std::borrow::Cow;
use std::io::Read;
use zeroize::Zeroizing;

/// Why a content coding could not be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// A coding that is not known here, or several on top of each other.
    #[error("the content coding is not known here")]
    Unknown,
    /// What came is not of the coding that it is said to be.
    #[error("the body is not what its content coding says")]
    Broken,
    /// What comes out is longer than the limit.
    #[error("the decoded body is longer than the limit")]
    TooLong,
}

/// What a mark or a lost byte becomes.
const LOST: char = '\u{fffd}';

/// Undoes a content coding: `gzip` or `deflate`, one at most. `coding` is the value of
/// `Content-Encoding`, `None` where there is none (gzip is known by its first bytes then); `limit` is the longest body that may come out, in
/// bytes. `None` means that there was nothing to undo.
///
/// # Errors
/// When the coding is not known, the body is not of it, or too much comes out.
pub fn undo(
    coding: Option<&str>,
    bytes: &[u8],
    limit: usize,
) -> Result<Option<Zeroizing<Vec<u8>>>, CodingError> {
    let named: Vec<String> = coding
        .unwrap_or_default()
        .split(',')
        .map(|coding| coding.trim().to_ascii_lowercase())
        .filter(|coding| !coding.is_empty() && coding != "identity")
        .collect();
    match named.as_slice() {
        // A proxy on the way may have taken the name of the coding away.
        [] if bytes.starts_with(&[0x1f, 0x8b, 0x08]) => {
            match unpack(MultiGzDecoder::new(bytes), limit) {
                Err(CodingError::Broken) => Ok(None),
                unpacked => unpacked.map(Some),
            }
        }
        [] => Ok(None),
        [one] => match one.as_str() {
            "gzip" | "x-gzip" => unpack(MultiGzDecoder::new(bytes), limit).map(Some),
            "deflate" => match unpack(ZlibDecoder::new(bytes), limit) {
                // Some senders leave the wrapper of zlib out.
                Err(CodingError::Broken) => unpack(DeflateDecoder::new(bytes), limit).map(Some),
                unpacked => unpacked.map(Some),
            },
            _ => Err(CodingError::Unknown),
        },
        _ => Err(CodingError::Unknown),
    }
}

fn unpack(packed: impl Read, limit: usize) -> Result<Zeroizing<Vec<u8>>, CodingError> {
    // All at once: a vector that grows by itself leaves its old memory as it was.
    let mut plain = Zeroizing::new(Vec::with_capacity(limit + 1));
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = packed.take(most).read_to_end(&mut plain);
    match read {
        Ok(_) if plain.len() > limit => Err(CodingError::TooLong),
        Ok(_) => Ok(plain),
        Err(_) => Err(CodingError::Broken),
    }
}

/// A body as it is read and kept: itself when it is JSON, else the JSON that it is but for its damage,
/// else its text.
pub fn readable(bytes: &[u8]) -> Cow<'_, [u8]> {
    if webhook_json::is_json(bytes) {
        Cow::Borrowed(bytes)
    } else {
        mended(bytes)
    }
}

/// The same of what is no JSON as it is.
pub(super) fn mended(bytes: &[u8]) -> Cow<'_, [u8]> {
    let text = text(bytes);
    if matches!(text, Cow::Owned(_)) && webhook_json::is_json(text.as_bytes()) {
        return into_bytes(text);
    }
    let mended = mend(&text);
    if mended != text && webhook_json::is_json(mended.as_bytes()) {
        return Cow::Owned(mended.into_bytes());
    }
    let whole = whole_and_shallow(&mended);
    if whole != mended && webhook_json::is_json(whole.as_bytes()) {
        return Cow::Owned(whole.into_bytes());
    }
    into_bytes(text)
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// Bytes as text, without marks of byte order: UTF-16 where it is known by its mark or by its NULs and
/// decodes without error, else UTF-8 with U+FFFD for what is none.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    if let Some(text) = utf16(bytes) {
        return Cow::Owned(text);
    }
    let mut rest = bytes;
    while let Some(after) = rest.strip_prefix(b"\xEF\xBB\xBF") {
        rest = after;
    }
    String::from_utf8_lossy(rest)
}

fn utf16(bytes: &[u8]) -> Option<String> {
    let (rest, big) = match bytes {
        [0xFF, 0xFE, rest @ ..] => (rest, false),
        [0xFE, 0xFF, rest @ ..] => (rest, true),
        // The first two letters of a document are ASCII.
        [1..=0x7F, 0, 1..=0x7F, 0, ..] => (bytes, false),
        [0, 1..=0x7F, 0, 1..=0x7F, ..] => (bytes, true),
        _ => return None,
    };
    let (units, odd) = rest.as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    let units = units.iter().map(|unit| {
        if big {
            u16::from_be_bytes(*unit)
        } else {
            u16::from_le_bytes(*unit)
        }
    });
    let text: String = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
    // A text with NULs of its own was none.
    (!text.contains('\0')).then(|| text.trim_start_matches('\u{feff}').to_owned())
}

/// Replaces what no JSON may hold. What JSON may hold stays as it is.
fn mend(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    let mut in_text = false;
    while let Some(letter) = rest.chars().next() {
        let width = match (in_text, letter) {
            (true, '\\') => escape(rest, &mut out),
            (true, '\t' | '\n' | '\r') => {
                out.push_str(match letter {
                    '\t' => "\\t",
                    '\n' => "\\n",
                    _ => "\\r",
                });
                1
            }
            (true, '\0'..='\x1f') => {
                out.push(LOST);
                1
            }
            (false, '-' | '0'..='9') => number(rest, &mut out),
            // Between its words JSON is blanks and ASCII.
            (false, '\t' | '\n' | '\r') => {
                out.push(letter);
                1
            }
            (false, letter) if letter.is_control() || !letter.is_ascii() => {
                out.push(' ');
                letter.len_utf8()
            }
            (_, letter) => {
                in_text ^= letter == '"';
                out.push(letter);
                letter.len_utf8()
            }
        };
        rest = &rest[width..];
    }
    out
}

/// What lies deeper than this is left out: nothing is read there, and the reader would refuse it all.
const DEEPEST: usize = 100;

/// The object that a text begins with, without what lies too deep in it, and without stray brackets and commas
/// behind it.
fn whole_and_shallow(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut depth, mut copied, mut at) = (0_usize, 0, 0);
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth == DEEPEST + 1 {
                    out.push_str(&text[copied..at]);
                    out.push_str("null");
                }
            }
            b'}' | b']' => {
                if depth == DEEPEST + 1 {
                    copied = at + 1;
                }
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    let rest = &bytes[at + 1..];
                    let stray = |b: &u8| b.is_ascii_whitespace() || b"}]),;".contains(b);
                    let end = if rest.iter().all(stray) {
                        at + 1
                    } else {
                        bytes.len()
                    };
                    out.push_str(&text[copied..end]);
                    return out;
                }
            }
            _ => {}
        }
        at += 1;
    }
    text.to_owned()
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Writes an escape, or what stands for one that does not exist. Returns how much of the text it is.
fn escape(rest: &str, out: &mut String) -> usize {
    let bytes = rest.as_bytes();
    match bytes.get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
            out.push_str(&rest[..2]);
            2
        }
        Some(b'u') => match unit(bytes) {
            Some(0xD800..=0xDBFF) if matches!(unit(&bytes[6..]), Some(0xDC00..=0xDFFF)) => {
                out.push_str(&rest[..12]);
                12
            }
            // Half of a letter.
            Some(0xD800..=0xDFFF) => {
                out.push(LOST);
                6
            }
            Some(_) => {
                out.push_str(&rest[..6]);
                6
            }
            None => {
                out.push(LOST);
                2
            }
        },
        // The letter after it stays, whatever it is.
        Some(_) | None => {
            out.push(LOST);
            1
        }
    }
}

/// The number behind `\u`.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    digits
        .bytes()
        .all(|digit| digit.is_ascii_hexdigit())
        .then(|| u16::from_str_radix(digits, 16).ok())
        .flatten()
}

/// Writes a number; as a text when no number is as great.
fn number(rest: &str, out: &mut String) -> usize {
    let part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
    let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
    let number = &rest[..end];
    if number.parse::<f64>().is_ok_and(f64::is_infinite) {
        out.push('"');
        out.push_str(number);
        out.push('"');
    } else {
        out.push_str(number);
    }
    end
}

#[cfg(test)]
mod tests;
