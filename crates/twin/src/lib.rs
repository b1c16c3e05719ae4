//! The twin: a simulator of the payment gateway that a merchant's tests can
//! drive into every corner. It speaks the documented protocol over real HTTP,
//! follows scripts for what the documents leave open, sends signed webhooks,
//! and tells afterwards what really happened (`/_twin/...`).
//!
//! It is the other side of the wire, so it shares no code with the gateway
//! client, and it deliberately cannot keep anything: state lives in memory,
//! and card numbers are masked as they are read.

mod accept;
mod answer;
mod backoffice;
mod behaviour;
mod bodies;
mod cli;
mod clock;
mod control;
mod counts;
mod course;
mod faults;
mod form;
mod journal;
mod lookups;
mod odd_answers;
mod outbox;
mod random;
mod request;
mod routes;
mod rules;
mod scenario;
mod scenario_table;
mod script;
mod settings;
mod sign;
mod submit;
mod tasks;
mod transactions;
mod truth;

mod running;
mod webhook_post;
mod webhooks;
mod world;

use std::future::Future;
use std::net::TcpListener;

use actix_web::web::Data;
use actix_web::{App, HttpServer};

pub use cli::{Args, main};
pub use scenario_table::all as scenarios;
pub use script::Delay;
pub use settings::{Settings, Switches};
pub use sign::{KeyName, Signer};

/// Why the twin does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen")]
    Listen(#[source] std::io::Error),
    /// Signals cannot be waited for.
    #[error("cannot wait for signals")]
    Signal(#[source] std::io::Error),
    /// The server broke down.
    #[error("the server broke down")]
    Serve(#[source] std::io::Error),
    /// The client for webhooks cannot be made.
    #[error("cannot make the client for webhooks")]
    Client(#[source] reqwest::Error),
    /// The embedded signing keys cannot be read.
    #[error("the embedded signing keys cannot be read")]
    Key,
}

/// Runs a twin on a bound listener until `shutdown` is over. Connections that
/// are being held on purpose are dropped then.
pub async fn run(
    listener: TcpListener,
    settings: Settings,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let address = listener.local_addr().map_err(Error::Listen)?;
    let origin = settings
        .public_url
        .clone()
        .unwrap_or_else(|| format!("http://{address}"));
    let twin = Data::new(running::Twin::new(&settings, origin)?);
    let timers = tokio::spawn(Data::clone(&twin).into_inner().run_timers());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(twin.clone())
            .configure(control::configure)
            .configure(routes::configure)
    })
    .workers(settings.workers.max(1))
    .keep_alive(std::time::Duration::from_secs(75))
    .disable_signals()
    .listen(listener)
    .map_err(Error::Listen)?
    .run();
    let handle = server.handle();
    let serving = tokio::spawn(server);
    shutdown.await;
    handle.stop(false).await;
    timers.abort();
    match serving.await {
        Ok(served) => served.map_err(Error::Serve),
        Err(panic) => Err(Error::Serve(std::io::Error::other(panic))),
    }
}

#[cfg(test)]
mod tests;
