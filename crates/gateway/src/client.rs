//! The HTTP client of the gateway: one request out, one answer in, and the fate of every request
//! named.
//!
//! Nothing here is ever sent twice: automatic retries and redirects are off, and submits
//! never use a connection that has been used before, since a pooled one may be dead in a way that
//! shows only after the request is written. What it deliberately cannot do: decide whether to
//! send, read what came back, wait, or log a body or a secret.

use super::address::{GatewayAddress, InvalidAddress, RequestMode};
use super::redact::Secrets;
use super::response::{GatewayResponse, ResponseHead, describe, read_body};
use super::send_gate::SendGate;
use super::sensitive_body::{SensitiveBody, query_body};
use crate::settings::{self, ClientSettings};
use domain::{GatewayIdempotencyKey, TaskId, TransactionType, Uid};
use leaves::clock::BootInstant;
use leaves::telemetry::traces;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Certificate, Client, ClientBuilder, NoProxy, Proxy, RequestBuilder, redirect};
use serde_json::{Map, Value};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use url::Url;

/// How long an idle connection is kept for the next read: shorter than servers keep theirs.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(20);
const JSON: &str = "application/json";

/// A shop's credentials at the gateway.
#[derive(Clone, Copy)]
pub struct ShopCredentials<'a> {
    /// The shop id.
    pub shop_id: &'a str,
    /// The secret key.
    pub secret: &'a str,
}

impl fmt::Debug for ShopCredentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, ***)", self.shop_id)
    }
}

/// What became of a submit.
#[derive(Debug)]
pub enum SubmitExchange {
    /// An answer came, whole.
    Answered(GatewayResponse),
    /// No byte of the request has left, and none will.
    NotSent {
        /// Why.
        reason: String,
    },
    /// Bytes may have left, and no whole answer came.
    Unclear {
        /// What happened.
        reason: String,
        /// What had come of an answer.
        partial: Option<Box<GatewayResponse>>,
    },
}

/// What became of a read.
#[derive(Debug)]
pub enum ReadExchange {
    /// An answer came; it is cut when it was longer than the limit.
    Answered(GatewayResponse),
    /// The gateway was not asked.
    NotAsked {
        /// Why.
        reason: String,
    },
    /// The gateway may have been asked, and no whole answer came.
    Interrupted {
        /// An answer had begun: what can be read only once may be lost.
        response_began: bool,
        /// What happened.
        reason: String,
        /// What had come of the answer.
        partial: Option<Box<GatewayResponse>>,
    },
}

/// One of the two requests that create no transaction.
#[derive(Debug, Clone)]
pub enum QueryKind {
    /// The status of a transaction.
    ByUid(Uid),
    /// The status of what is filed under a tracking id.
    ByTrackingId(String),
    /// The balance, by the fields of the request.
    Balance(Map<String, Value>),
}

/// Why no client could be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is unusable.
    #[error("unusable gateway address")]
    Address(#[from] InvalidAddress),
    /// The file of certificate authorities cannot be read.
    #[error("gateway.ca_file {file} cannot be read", file = file.display())]
    Authorities {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// TLS or something else below could not be set up.
    #[error("cannot set up the http client")]
    Setup(#[from] reqwest::Error),
}

/// The client; cheap to clone.
#[derive(Clone)]
pub struct GatewayClient {
    address: GatewayAddress,
    submits: Client,
    reads: Arc<Aging>,
}

/// The client of reads, whose connections are pooled. After a while it is made anew: a pool never asks again
/// where a name leads to as long as the old place answers.
struct Aging {
    settings: ClientSettings,
    current: Mutex<(BootInstant, Client)>,
}

impl Aging {
    fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        let client = reads(settings)?;
        Ok(Self {
            settings: settings.clone(),
            current: Mutex::new((BootInstant::now(), client)),
        })
    }

    fn client(&self) -> Client {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0.elapsed() > self.settings.max_connection_age {
            current.0 = BootInstant::now();
            match reads(&self.settings) {
                Ok(client) => current.1 = client,
                Err(error) => tracing::warn!(%error, "failed to renew connections to the gateway"),
            }
        }
        current.1.clone()
    }
}

fn reads(settings: &ClientSettings) -> Result<Client, ClientError> {
    Ok(base(settings)?
        .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
        .build()?)
}

impl fmt::Debug for GatewayClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayClient")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl GatewayClient {
    /// Builds the client. Installs the process-wide TLS provider if there is none yet.
    pub fn new(settings: &ClientSettings) -> Result<Self, ClientError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            address: GatewayAddress::new(&settings.base_url)?,
            submits: base(settings)?.pool_max_idle_per_host(0).build()?,
            reads: Arc::new(Aging::new(settings)?),
        })
    }

    /// The address that requests go to.
    pub fn address(&self) -> &GatewayAddress {
        &self.address
    }

    /// Submits a transaction through the asynchronous mode. `may_send` is asked in the last moment
    /// before the body is handed over; when it says no, nothing leaves.
    pub async fn submit<F>(
        &self,
        shop: ShopCredentials<'_>,
        kind: TransactionType,
        body: SensitiveBody,
        key: GatewayIdempotencyKey,
        may_send: F,
    ) -> SubmitExchange
    where
        F: Fn() -> bool + Send + 'static,
    {
        let gate = SendGate::default();
        // The answer may repeat what was in the request, and is read without it.
        let card = Secrets::of(body.as_bytes());
        let request = self
            .submits
            .post(self.address.submit(kind))
            .header(CONTENT_TYPE, JSON)
            .header(CONTENT_LENGTH, body.len())
            .header("RequestID", key.0.to_string())
            .body(Body::wrap_stream(gate.body(body, may_send)));
        match send(request, shop).await {
            Ok(response) => match read_body(response).await.without(&card) {
                ResponseHead::Whole(answer) if !answer.truncated => {
                    SubmitExchange::Answered(answer)
                }
                ResponseHead::Whole(answer) => SubmitExchange::Unclear {
                    reason: "the answer is longer than the limit".to_owned(),
                    partial: Some(Box::new(answer)),
                },
                ResponseHead::BrokenOff { answer, reason } => SubmitExchange::Unclear {
                    reason,
                    partial: Some(Box::new(answer)),
                },
            },
            Err(error) if gate.close() => SubmitExchange::NotSent {
                reason: describe(error),
            },
            Err(error) => SubmitExchange::Unclear {
                reason: describe(error),
                partial: None,
            },
        }
    }

    /// Reads a task's result. What is not a 200 can be read only once.
    pub async fn result(&self, shop: ShopCredentials<'_>, task: &TaskId) -> ReadExchange {
        self.get(shop, self.address.task_result(task)).await
    }

    /// Reads a task's status. What is not a 200 can be read only once.
    pub async fn status(&self, shop: ShopCredentials<'_>, task: &TaskId) -> ReadExchange {
        self.get(shop, self.address.task_status(task)).await
    }

    /// Looks a transaction up by uid.
    pub async fn by_uid(&self, shop: ShopCredentials<'_>, uid: &Uid) -> ReadExchange {
        self.get(shop, self.address.by_uid(RequestMode::Sync, uid))
            .await
    }

    /// Looks transactions up by tracking id.
    pub async fn by_tracking_id(
        &self,
        shop: ShopCredentials<'_>,
        tracking_id: &str,
    ) -> ReadExchange {
        self.get(
            shop,
            self.address.by_tracking_id(RequestMode::Sync, tracking_id),
        )
        .await
    }

    /// Makes a query: as a task, whose answer [`super::read_submit`] reads, or at once, with an
    /// answer such as a task's result has.
    pub async fn query(
        &self,
        shop: ShopCredentials<'_>,
        mode: RequestMode,
        query: &QueryKind,
    ) -> ReadExchange {
        match query {
            QueryKind::ByUid(uid) => self.get(shop, self.address.by_uid(mode, uid)).await,
            QueryKind::ByTrackingId(id) => {
                self.get(shop, self.address.by_tracking_id(mode, id)).await
            }
            QueryKind::Balance(fields) => {
                let body = bytes::Bytes::from_owner(query_body(fields.clone()));
                let request = self
                    .reads
                    .client()
                    .post(self.address.balance(mode))
                    .header(CONTENT_TYPE, JSON)
                    .header("X-API-Version", "2")
                    .body(body);
                read(request, shop).await
            }
        }
    }

    async fn get(&self, shop: ShopCredentials<'_>, url: Option<Url>) -> ReadExchange {
        match url {
            Some(url) => read(self.reads.client().get(url), shop).await,
            None => ReadExchange::NotAsked {
                reason: "the id has no address".to_owned(),
            },
        }
    }
}

fn base(settings: &ClientSettings) -> Result<ClientBuilder, ClientError> {
    let builder = Client::builder()
        .user_agent(concat!("reconciler/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .http1_only()
        .gzip(true)
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.request_timeout);
    let builder = match &settings.ca_file {
        Some(file) => {
            let unread = |source| ClientError::Authorities {
                file: file.clone(),
                source,
            };
            let pem = std::fs::read(file).map_err(unread)?;
            builder.tls_certs_merge(Certificate::from_pem_bundle(&pem)?)
        }
        None => builder,
    };
    Ok(by_way_of(&settings.proxy, builder)?)
}

/// Sends everything through the configured proxy, and nothing through one that the environment names.
pub fn by_way_of(
    proxy: &settings::Proxy,
    builder: ClientBuilder,
) -> Result<ClientBuilder, reqwest::Error> {
    let Some(url) = &proxy.url else {
        return Ok(builder.no_proxy());
    };
    let except = NoProxy::from_string(&proxy.except.join(","));
    Ok(builder.proxy(Proxy::all(url.as_str())?.no_proxy(except)))
}

async fn read(request: RequestBuilder, shop: ShopCredentials<'_>) -> ReadExchange {
    match send(request, shop).await {
        Ok(response) => match read_body(response).await {
            ResponseHead::Whole(answer) => ReadExchange::Answered(answer),
            ResponseHead::BrokenOff { answer, reason } => ReadExchange::Interrupted {
                response_began: true,
                reason,
                partial: Some(Box::new(answer)),
            },
        },
        Err(error) if error.is_connect() || error.is_builder() => ReadExchange::NotAsked {
            reason: describe(error),
        },
        Err(error) => ReadExchange::Interrupted {
            response_began: false,
            reason: describe(error),
            partial: None,
        },
    }
}

/// The one place where a request to the gateway goes out.
#[expect(
    clippy::disallowed_methods,
    reason = "the fate of the request is named by both callers"
)]
async fn send(
    request: RequestBuilder,
    shop: ShopCredentials<'_>,
) -> Result<reqwest::Response, reqwest::Error> {
    let request = traces::of_our_own()
        .into_iter()
        .fold(request, |request, (name, value)| {
            request.header(name, value)
        });
    // The header is marked sensitive by `basic_auth`, so that nothing prints it.
    request
        .header(ACCEPT, JSON)
        .basic_auth(shop.shop_id, Some(shop.secret))
        .send()
        .await
}

#[cfg(test)]
mod raw_server;
#[cfg(test)]
mod tests;
