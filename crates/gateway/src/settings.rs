//! What the client has to be told. Whoever has the configuration fills it.

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
}
