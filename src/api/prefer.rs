//! What a caller would prefer (RFC 7240): to wait for an outcome, or not to wait at all.
//!
//! A preference that cannot be read is no error: it is passed over, as the RFC asks.

use actix_web::http::header::{HeaderMap, HeaderName};
use std::time::Duration;

/// The name of the header in answers.
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The longest wait: shorter than the 60 seconds after which most proxies give up.
const MAX_WAIT: u64 = 55;

/// The preferences that we know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Preference {
    /// `wait=N`: answer when there is something to act on, or after this time.
    pub(crate) wait: Option<Duration>,
    /// `respond-async`: answer as soon as the request is stored.
    pub(crate) respond_async: bool,
}

impl Preference {
    /// Reads all `Prefer` headers. Where one preference is named twice the first counts.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut prefer = Self::default();
        for header in headers
            .get_all("prefer")
            .filter_map(|value| value.to_str().ok())
        {
            for preference in split(header, ',') {
                let named = split(preference, ';').next().unwrap_or_default();
                let (name, value) = named.split_once('=').unwrap_or((named, ""));
                let value = value.trim().trim_matches('"');
                match name.trim().to_ascii_lowercase().as_str() {
                    "respond-async" => prefer.respond_async = true,
                    "wait" if prefer.wait.is_none() => prefer.wait = seconds(value),
                    _ => {}
                }
            }
        }
        prefer
    }

    /// The same without `respond-async`, for requests that are sent while their caller waits.
    pub(crate) fn waiting(self) -> Self {
        Self {
            respond_async: false,
            ..self
        }
    }

    /// What `Preference-Applied` says; `None` when nothing was preferred.
    pub(crate) fn applied(self) -> Option<String> {
        let mut applied = Vec::new();
        if self.respond_async {
            applied.push("respond-async".to_owned());
        }
        if let Some(wait) = self.wait {
            applied.push(format!("wait={}", wait.as_secs()));
        }
        (!applied.is_empty()).then(|| applied.join(", "))
    }
}

/// A number that is too long for an integer still means "long".
fn seconds(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| Duration::from_secs(text.parse().unwrap_or(MAX_WAIT).min(MAX_WAIT)))
}

/// Splits at a separator that stands outside quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => return true,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn prefer(headers: &[&'static str]) -> Preference {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(
                HeaderName::from_static("prefer"),
                HeaderValue::from_static(header),
            );
        }
        Preference::of(&map)
    }

    fn wait(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn preferences_in_one_header_or_in_many() {
        assert_eq!(prefer(&[]), Preference::default());
        let both = Preference {
            wait: wait(5),
            respond_async: true,
        };
        assert_eq!(prefer(&["respond-async, wait=5"]), both);
        assert_eq!(prefer(&["wait=5", "Respond-Async"]), both);
        assert_eq!(
            prefer(&["handling=lenient; x=1, WAIT = \"5\" ;y, respond-async;z=2"]),
            both
        );
        assert_eq!(both.applied().as_deref(), Some("respond-async, wait=5"));
        assert_eq!(both.waiting().applied().as_deref(), Some("wait=5"));
        assert_eq!(Preference::default().applied(), None);
    }

    #[test]
    fn the_first_preference_counts_and_wait_is_capped() {
        assert_eq!(prefer(&["wait=5, wait=9"]).wait, wait(5));
        assert_eq!(prefer(&["wait=0"]).wait, wait(0));
        assert_eq!(prefer(&["wait=3600"]).wait, wait(55));
        assert_eq!(prefer(&["wait=99999999999999999999999"]).wait, wait(55));
    }

    #[test]
    fn unreadable_preferences_are_ignored() {
        for header in [
            "wait", "wait=", "wait=-1", "wait=1.5", "wait=x", "xwait=5", ",;=,",
        ] {
            assert_eq!(prefer(&[header]), Preference::default(), "{header}");
        }
        assert_eq!(prefer(&["wait=x, wait=4"]).wait, wait(4));
        assert_eq!(
            prefer(&["note=\"a, wait=7; \\\" b\", wait=3"]).wait,
            wait(3)
        );
    }
}
