//! The gateway's address, and every path under it.
//!
//! Addresses are built here from the configured origin and an id; an address that the gateway
//! gives is only ever looked at, never followed, since credentials would go along.

use domain::{TaskId, TransactionType, Uid};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

/// What stands unescaped in one segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The configured address of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayAddress {
    base: Url,
}

/// Why a text cannot be the gateway's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the gateway's address needs http or https and a host, and no credentials, query or fragment"
)]
pub struct InvalidAddress;

impl GatewayAddress {
    /// Takes the configured base address; a path in it stays in front of every path.
    pub fn new(base: &Url) -> Result<Self, InvalidAddress> {
        let fits = matches!(base.scheme(), "http" | "https")
            && base.host_str().is_some_and(|host| !host.is_empty())
            && base.username().is_empty()
            && base.password().is_none()
            && base.query().is_none()
            && base.fragment().is_none();
        fits.then(|| Self { base: base.clone() })
            .ok_or(InvalidAddress)
    }

    /// Whether an address has our scheme, host and port. One that begins with them as they are written here
    /// has; others are read.
    pub fn has_same_origin(&self, url: &str) -> bool {
        let front = &self.base[..url::Position::BeforePath];
        url.strip_prefix(front)
            .is_some_and(|rest| rest.starts_with('/'))
            || Url::parse(url).is_ok_and(|url| url.origin() == self.base.origin())
    }

    /// The task that one of our own addresses names.
    pub(super) fn parse_task_url(&self, url: &str) -> Option<TaskId> {
        if !self.has_same_origin(url) {
            return None;
        }
        let url = Url::parse(url).ok()?;
        let rest = url
            .path()
            .strip_prefix(self.base.path().trim_end_matches('/'))?;
        let id = ["/async/result/", "/async/status/"]
            .into_iter()
            .find_map(|front| rest.strip_prefix(front))?;
        TaskId::from_gateway(id)
    }

    /// Where a transaction of this kind is submitted.
    pub fn submit(&self, kind: TransactionType) -> Url {
        self.join(&format!("/async/transactions/{}", collection(kind)))
    }

    /// A task's status.
    pub fn task_status(&self, task: &TaskId) -> Option<Url> {
        self.with_id("/async/status/", task.as_str())
    }

    /// A task's result.
    pub fn task_result(&self, task: &TaskId) -> Option<Url> {
        self.with_id("/async/result/", task.as_str())
    }

    /// A transaction by uid; through the asynchronous mode or at once.
    pub fn by_uid(&self, mode: RequestMode, uid: &Uid) -> Option<Url> {
        self.with_id(&format!("{}/transactions/", mode.front()), uid.as_str())
    }

    /// Transactions by tracking id; through the asynchronous mode or at once.
    pub fn by_tracking_id(&self, mode: RequestMode, tracking_id: &str) -> Option<Url> {
        self.with_id(
            &format!("{}/v2/transactions/tracking_id/", mode.front()),
            tracking_id,
        )
    }

    /// The balance; through the asynchronous mode or at once.
    pub fn balance(&self, mode: RequestMode) -> Url {
        self.join(&format!("{}/balance", mode.front()))
    }

    /// `.` and `..` cannot be a segment of an address in any spelling.
    fn with_id(&self, front: &str, id: &str) -> Option<Url> {
        let usable = !id.is_empty() && id != "." && id != "..";
        usable.then(|| self.join(&format!("{front}{}", utf8_percent_encode(id, SEGMENT))))
    }

    fn join(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url
    }
}

/// Whether a request runs as a task or is answered at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestMode {
    /// As a task.
    Async,
    /// At once.
    Sync,
}

impl RequestMode {
    const fn front(self) -> &'static str {
        match self {
            Self::Async => "/async",
            Self::Sync => "",
        }
    }
}

const fn collection(kind: TransactionType) -> &'static str {
    match kind {
        TransactionType::Payment => "payments",
        TransactionType::Authorization => "authorizations",
        TransactionType::Tokenization => "tokenizations",
        TransactionType::Capture => "captures",
        TransactionType::Void => "voids",
        TransactionType::Refund => "refunds",
        TransactionType::Payout => "payouts",
        TransactionType::Chargeback => "chargebacks",
        TransactionType::Checkup => "checkups",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn address(text: &str) -> GatewayAddress {
        GatewayAddress::new(&Url::parse(text).unwrap()).unwrap()
    }

    #[test]
    fn paths() {
        let ours = address("https://gateway.example");
        let uid = Uid::from_gateway("4107-310b0da80b").unwrap();
        let task = TaskId::from_gateway("a2ac9f8e").unwrap();
        let front = "https://gateway.example";
        let all: Vec<String> = TransactionType::ALL
            .iter()
            .map(|kind| ours.submit(*kind).to_string())
            .collect();
        assert_eq!(all[1], format!("{front}/async/transactions/authorizations"));
        assert_eq!(all[8], format!("{front}/async/transactions/checkups"));
        assert_eq!(
            ours.task_result(&task).unwrap().as_str(),
            format!("{front}/async/result/a2ac9f8e")
        );
        assert_eq!(
            ours.task_status(&task).unwrap().as_str(),
            format!("{front}/async/status/a2ac9f8e")
        );
        assert_eq!(
            ours.by_uid(RequestMode::Sync, &uid).unwrap().as_str(),
            format!("{front}/transactions/4107-310b0da80b")
        );
        assert_eq!(
            ours.by_tracking_id(RequestMode::Async, "a/b?c#d;e ü%")
                .unwrap()
                .as_str(),
            format!("{front}/async/v2/transactions/tracking_id/a%2Fb%3Fc%23d%3Be%20%C3%BC%25")
        );
        assert_eq!(
            ours.balance(RequestMode::Sync).as_str(),
            format!("{front}/balance")
        );
        assert_eq!(ours.by_tracking_id(RequestMode::Sync, ".."), None);
        assert_eq!(
            address("http://127.0.0.1:9/twin/")
                .balance(RequestMode::Async)
                .as_str(),
            "http://127.0.0.1:9/twin/async/balance"
        );
    }

    #[test]
    fn origins() {
        let ours = address("https://gateway.example");
        assert!(ours.has_same_origin("https://gateway.example:443/x"));
        assert!(ours.has_same_origin("https://gateway.example/async/result/x"));
        assert!(ours.has_same_origin("https://gateway.example"));
        for other in [
            "http://gateway.example/x",
            "https://gateway.example:444/x",
            "https://gateway.example.evil/x",
            "https://gateway.example@evil/x",
            "/async/result/x",
            "not an address",
        ] {
            assert!(!ours.has_same_origin(other), "{other}");
        }
        let task = ours
            .parse_task_url("https://gateway.example/async/result/abc")
            .unwrap();
        assert_eq!(task.as_str(), "abc");
        assert_eq!(
            ours.parse_task_url("https://evil.example/async/result/abc"),
            None
        );
        assert_eq!(
            ours.parse_task_url("https://gateway.example/async/result/a/b"),
            None
        );
    }

    #[test]
    fn addresses_that_are_refused() {
        for bad in [
            "ftp://x",
            "https://u:p@x",
            "https://x/?q",
            "https://x/#f",
            "mailto:x",
        ] {
            assert_eq!(
                GatewayAddress::new(&Url::parse(bad).unwrap()),
                Err(InvalidAddress),
                "{bad}"
            );
        }
    }
}
