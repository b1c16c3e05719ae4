//! Who calls, and what they may do.
//!
//! A client is known by the SHA-256 of its key; every client is compared, in constant time, so that
//! the time taken tells neither how much of a key was right nor whose it is. What it deliberately
//! cannot do: log or keep a key.

use crate::api::context::{ApiContext, HttpShop};
use crate::api::{request, stream};
use crate::config::{ClientConfig, Config, KeyDigest, Scope};
use crate::http::limits::TokenBucket;
use crate::http::problem::{Problem, ProblemKind};
use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap};
use arc_swap::ArcSwap;
use domain::ShopId;
use leaves::clock::BootInstant;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// When a client that reads too many streams may ask again.
const STREAM_RETRY: Duration = Duration::from_secs(5);

/// All clients of the API: those of the configuration in use, with what they have used of their limits.
pub(crate) struct ClientRegistry {
    known: ArcSwap<ClientTable>,
    renewing: Mutex<()>,
}

/// The clients of one configuration.
struct ClientTable {
    config: Arc<Config>,
    clients: Vec<Arc<ApiClient>>,
}

/// A client, with its limit.
pub(crate) struct ApiClient {
    pub(crate) config: ClientConfig,
    bucket: Option<Arc<TokenBucket>>,
    streams: Arc<Semaphore>,
}

/// A client at a shop that it may address.
pub(crate) struct AuthorizedCaller {
    pub(crate) client: Arc<ApiClient>,
    pub(crate) shop: Arc<HttpShop>,
}

impl ClientRegistry {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        let clients = clients(&config.clients, &[], BootInstant::now());
        Self {
            known: ArcSwap::from_pointee(ClientTable { config, clients }),
            renewing: Mutex::new(()),
        }
    }

    /// Those of this configuration. Made when it is first seen, and not by whoever changes it, so that
    /// nobody meets the keys of one configuration beside the clients of another.
    fn of(&self, config: &Arc<Config>) -> Arc<ClientTable> {
        let known = self.known.load_full();
        if Arc::ptr_eq(&known.config, config) {
            return known;
        }
        // One at a time, so that all share the new limits.
        let _renewing = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.known.load_full();
        if Arc::ptr_eq(&before.config, config) {
            return before;
        }
        let renewed = Arc::new(ClientTable {
            config: Arc::clone(config),
            clients: clients(&config.clients, &before.clients, BootInstant::now()),
        });
        self.known.store(Arc::clone(&renewed));
        renewed
    }
}

/// The clients of a configuration. Who was there `before` goes on with what it has used of its limits.
fn clients(
    configs: &[ClientConfig],
    before: &[Arc<ApiClient>],
    now: BootInstant,
) -> Vec<Arc<ApiClient>> {
    let client = |config: &ClientConfig| {
        let rate = config.max_requests_per_second;
        let fresh = || rate.map(|rate| Arc::new(TokenBucket::new(rate, now)));
        let old = before.iter().find(|old| old.config.name == config.name);
        let kept = old.filter(|old| old.config.max_requests_per_second == rate);
        Arc::new(ApiClient {
            config: config.clone(),
            bucket: kept.map_or_else(fresh, |old| old.bucket.clone()),
            streams: old.map_or_else(
                || Arc::new(Semaphore::new(stream::MAX_STREAMS_PER_CLIENT)),
                |old| Arc::clone(&old.streams),
            ),
        })
    };
    configs.iter().map(client).collect()
}

fn by_key<'a>(clients: &'a [Arc<ApiClient>], key: &[u8]) -> Option<&'a Arc<ApiClient>> {
    let digest = KeyDigest::of(key);
    let mut found = None;
    for client in clients {
        if client.config.key_sha256 == digest {
            found = Some(client);
        }
    }
    found
}

impl ApiClient {
    pub(crate) fn has_scope(&self, scope: Scope) -> bool {
        self.config.scopes.contains(&scope)
    }
}

impl AuthorizedCaller {
    /// The name that stands in evidence.
    pub(crate) fn name(&self) -> &str {
        &self.client.config.name
    }

    /// A place for one more stream of the client.
    pub(crate) fn stream_permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.client.streams)
            .try_acquire_owned()
            .map_err(|_| {
                Problem::new(
                    ProblemKind::TooManyRequests,
                    "this client reads as many streams as it may",
                )
                .retry_after(STREAM_RETRY)
            })
    }

    /// Fails unless the client has this scope as well.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.client.has_scope(scope) {
            return Ok(());
        }
        Err(Problem::new(
            ProblemKind::Forbidden,
            format!("this needs the scope {:?}", scope.as_str()),
        ))
    }
}

impl ApiContext {
    /// Lets a request through to a resource that has no query parameters.
    pub(crate) fn authorize_plain(
        &self,
        req: &HttpRequest,
        scope: Scope,
    ) -> Result<AuthorizedCaller, Problem> {
        let caller = self.authorize(req, scope)?;
        request::QueryParams::of(req, &[]).finish()?;
        Ok(caller)
    }

    /// Lets a request through to the shop in its path, when its key allows that.
    pub(crate) fn authorize(
        &self,
        req: &HttpRequest,
        scope: Scope,
    ) -> Result<AuthorizedCaller, Problem> {
        let known = self.clients.of(&self.config.current());
        let client = bearer(req.headers())
            .and_then(|key| by_key(&known.clients, key))
            .ok_or_else(unauthorized)?;
        request::add_log_fields(req, |fields| {
            fields.client = Some(client.config.name.clone());
            fields.is_known = true;
        });
        if let Some(bucket) = &client.bucket {
            bucket.try_acquire(BootInstant::now()).map_err(|after| {
                Problem::new(
                    ProblemKind::TooManyRequests,
                    "the limit of this client is reached",
                )
                .retry_after(after)
            })?;
        }
        let name = request::segment(req, request::SHOP_SEGMENT).unwrap_or_default();
        if !client.config.shops.contains(&name) {
            return Err(Problem::new(
                ProblemKind::Forbidden,
                "the key is not for this shop",
            ));
        }
        if !client.has_scope(scope) {
            let detail = format!("this needs the scope {:?}", scope.as_str());
            return Err(Problem::new(ProblemKind::Forbidden, detail));
        }
        let shop = self
            .shop(&name)
            .ok_or_else(|| Problem::not_found("there is no such shop"))?;
        request::add_log_fields(req, |fields| fields.shop = Some(shop.id.clone()));
        Ok(AuthorizedCaller {
            client: Arc::clone(client),
            shop: Arc::clone(shop),
        })
    }

    /// Whether a key that was good when a long answer began is good still.
    pub(crate) fn is_still_authorized(
        &self,
        client: &ApiClient,
        shop: &ShopId,
        scope: Scope,
    ) -> bool {
        let now = self.config.current();
        let mut same = now
            .clients
            .iter()
            .filter(|one| one.key_sha256 == client.config.key_sha256);
        same.any(|one| one.scopes.contains(&scope) && one.shops.contains(shop.as_str()))
    }
}

fn unauthorized() -> Problem {
    Problem::new(
        ProblemKind::Unauthorized,
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
    use crate::config::ShopSelection;
    use actix_web::http::header::HeaderValue;

    fn client(name: &str, key: &str) -> ClientConfig {
        ClientConfig {
            name: name.to_owned(),
            key_sha256: KeyDigest::of(key.as_bytes()),
            shops: ShopSelection::All,
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
        let all = clients(
            &[client("a", "ka"), client("b", "kb")],
            &[],
            BootInstant::now(),
        );
        assert_eq!(by_key(&all, b"kb").unwrap().config.name, "b");
        for wrong in ["", "k", "kab", "KB", "kb "] {
            assert!(by_key(&all, wrong.as_bytes()).is_none(), "{wrong:?}");
        }
        assert!(by_key(&all, b"ka").unwrap().has_scope(Scope::Read));
        assert!(!by_key(&all, b"ka").unwrap().has_scope(Scope::Operate));
    }

    #[test]
    fn a_client_keeps_its_used_limit_after_a_reload() {
        let start = BootInstant::now();
        let limited = |rate| ClientConfig {
            max_requests_per_second: Some(rate),
            ..client("a", "ka")
        };
        let first = clients(&[limited(1)], &[], start);
        let take = |all: &[Arc<ApiClient>]| all[0].bucket.as_ref().unwrap().try_acquire(start);
        assert_eq!(take(&first), Ok(()));
        let renewed = clients(&[client("b", "kb"), limited(1)], &first, start);
        assert!(take(&renewed[1..]).is_err());
        assert_eq!(take(&clients(&[limited(2)], &renewed, start)), Ok(()));
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
