//! Who calls, and what they may do.
//!
//! A client is known by the SHA-256 of its key; every client is compared, in constant time, so that
//! the time taken tells neither how much of a key was right nor whose it is. What it deliberately
//! cannot do: log or keep a key.

use crate::clock::Boottime;
use crate::config::{ClientConfig, KeyDigest, Scope};
use crate::http::context::{Context, Shop};
use crate::http::limits::Bucket;
use crate::http::problem::{Kind, Problem};
use crate::http::{request, stream};
use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// When a client that reads too many streams may ask again.
const STREAM_RETRY: Duration = Duration::from_secs(5);

/// All clients of the API.
pub(crate) struct Clients(Vec<Arc<Client>>);

/// A client, with its limit.
pub(crate) struct Client {
    pub(crate) config: ClientConfig,
    bucket: Option<Bucket>,
    streams: Arc<Semaphore>,
}

/// A client at a shop that it may address.
pub(crate) struct Caller {
    pub(crate) client: Arc<Client>,
    pub(crate) shop: Arc<Shop>,
}

impl Clients {
    pub(crate) fn new(clients: &[ClientConfig], now: Boottime) -> Self {
        let client = |config: &ClientConfig| Client {
            config: config.clone(),
            bucket: config
                .max_requests_per_second
                .map(|rate| Bucket::new(rate, now)),
            streams: Arc::new(Semaphore::new(stream::PER_CLIENT)),
        };
        Self(
            clients
                .iter()
                .map(|config| Arc::new(client(config)))
                .collect(),
        )
    }

    fn by_key(&self, key: &[u8]) -> Option<&Arc<Client>> {
        let digest = KeyDigest::of(key);
        let mut found = None;
        for client in &self.0 {
            if client.config.key_sha256 == digest {
                found = Some(client);
            }
        }
        found
    }
}

impl Client {
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.config.scopes.contains(&scope)
    }
}

impl Caller {
    /// The name that stands in evidence.
    pub(crate) fn name(&self) -> &str {
        &self.client.config.name
    }

    /// A place for one more stream of the client.
    pub(crate) fn stream_place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.client.streams)
            .try_acquire_owned()
            .map_err(|_| {
                Problem::new(
                    Kind::TooManyRequests,
                    "this client reads as many streams as it may",
                )
                .retry_after(STREAM_RETRY)
            })
    }

    /// Fails unless the client has this scope as well.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.client.may(scope) {
            return Ok(());
        }
        Err(Problem::new(
            Kind::Forbidden,
            format!("this needs the scope {:?}", scope.as_str()),
        ))
    }
}

impl Context {
    /// Lets a request through to the shop in its path, when its key allows that.
    pub(crate) fn authorize(&self, req: &HttpRequest, scope: Scope) -> Result<Caller, Problem> {
        let client = bearer(req.headers())
            .and_then(|key| self.clients.by_key(key))
            .ok_or_else(unauthorized)?;
        if let Some(bucket) = &client.bucket {
            bucket.take(Boottime::now()).map_err(|after| {
                Problem::new(Kind::TooManyRequests, "the limit of this client is reached")
                    .retry_after(after)
            })?;
        }
        let name = request::segment(req, request::SHOP).unwrap_or_default();
        if !client.config.shops.contains(&name) {
            return Err(Problem::new(
                Kind::Forbidden,
                "the key is not for this shop",
            ));
        }
        if !client.may(scope) {
            let detail = format!("this needs the scope {:?}", scope.as_str());
            return Err(Problem::new(Kind::Forbidden, detail));
        }
        let shop = self
            .shop(&name)
            .ok_or_else(|| Problem::not_found("there is no such shop"))?;
        request::about(req, |about| about.shop = Some(shop.id.clone()));
        Ok(Caller {
            client: Arc::clone(client),
            shop: Arc::clone(shop),
        })
    }
}

fn unauthorized() -> Problem {
    Problem::new(
        Kind::Unauthorized,
        "a valid key is needed: Authorization: Bearer <key>",
    )
    .header(header::WWW_AUTHENTICATE, "Bearer")
}

/// The key of a request that has exactly one `Authorization` header, of the scheme Bearer.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(header::AUTHORIZATION);
    let (only, None) = (all.next()?, all.next()) else {
        return None;
    };
    let (scheme, key) = only.as_bytes().split_at_checked(7)?;
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::config::ShopSet;
    use actix_web::http::header::HeaderValue;

    fn client(name: &str, key: &str) -> ClientConfig {
        ClientConfig {
            name: name.to_owned(),
            key_sha256: KeyDigest::of(key.as_bytes()),
            shops: ShopSet::All,
            scopes: [Scope::Read].into(),
            max_requests_per_second: None,
        }
    }

    fn key_of(values: &[&'static str]) -> Option<Vec<u8>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        bearer(&headers).map(<[u8]>::to_vec)
    }

    #[test]
    fn a_key_is_found_whole_or_not_at_all() {
        let clients = Clients::new(&[client("a", "ka"), client("b", "kb")], Boottime::now());
        assert_eq!(clients.by_key(b"kb").unwrap().config.name, "b");
        for wrong in ["", "k", "kab", "KB", "kb "] {
            assert!(clients.by_key(wrong.as_bytes()).is_none(), "{wrong:?}");
        }
        assert!(clients.by_key(b"ka").unwrap().may(Scope::Read));
        assert!(!clients.by_key(b"ka").unwrap().may(Scope::Operate));
    }

    #[test]
    fn one_bearer_header_names_a_key() {
        assert_eq!(key_of(&["Bearer abc"]).as_deref(), Some(&b"abc"[..]));
        assert_eq!(key_of(&["bearer  abc "]).as_deref(), Some(&b"abc"[..]));
        for none in [
            &[][..],
            &["abc"],
            &["Basic abc"],
            &["Bearer"],
            &["Bearer "],
            &["Bearerabc"],
        ] {
            assert_eq!(key_of(none), None, "{none:?}");
        }
        assert_eq!(key_of(&["Bearer a", "Bearer b"]), None);
    }
}
