//! What the client has to be told. Whoever has the configuration fills it.

use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Where the gateway is, and how long it may take.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The gateway's origin for requests and tasks.
    pub base_url: Url,
    /// The longest time to connect.
    pub connect_timeout: Duration,
    /// The longest time of a whole request.
    pub request_timeout: Duration,
    /// The longest age of a connection for reads, so that a changed DNS name is followed.
    pub max_connection_age: Duration,
    /// How requests leave.
    pub proxy: Proxy,
    /// A PEM file with certificate authorities that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
}

/// Through what requests leave. The environment counts for nothing.
#[derive(Clone, Debug, Default)]
pub struct Proxy {
    /// The proxy; `None` when requests leave directly.
    pub url: Option<Url>,
    /// Hosts that are reached directly; none is exempt by default.
    pub except: Vec<String>,
}
