//! Simulator of the UnonaPay gateway, called the twin.
//!
//! Speaks the documented protocol over real HTTP, follows scripts for undocumented behaviour, sends
//! signed webhooks, and reports through its control API (`/_twin/...`) what happened.
//!
//! Invariants: the simulator shares no code with the gateway client, so that an error in one does
//! not hide an error in the other. Its state is in memory only, and card numbers are masked when
//! they are read.

mod accept;
mod behaviour;
mod cli;
mod clock;
mod control;
mod counts;
mod faults;
mod form;
mod lifecycle;
mod lookups;
mod odd_answers;
mod random;
mod render;
mod request;
mod request_log;
mod response;
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
mod webhook_queue;

mod server;
mod state;
mod webhook_sender;

use std::future::Future;
use std::net::TcpListener;

use actix_web::web::Data;
use actix_web::{App, HttpServer};

pub use cli::{TwinArgs, main};
pub use scenario_table::all as scenarios;
pub use script::Delay;
pub use settings::{BehaviourSwitches, TwinSettings};
pub use sign::{Signer, SigningKey};

/// An error that stops the simulator.
#[derive(Debug, thiserror::Error)]
pub enum TwinError {
    /// The listen address could not be bound.
    #[error("failed to listen")]
    Listen(#[source] std::io::Error),
    /// The signal handlers could not be installed.
    #[error("failed to install signal handlers")]
    Signal(#[source] std::io::Error),
    /// The HTTP server failed.
    #[error("HTTP server failed")]
    Serve(#[source] std::io::Error),
    /// The HTTP client for webhooks could not be created.
    #[error("failed to create the webhook client")]
    Client(#[source] reqwest::Error),
    /// The embedded signing keys could not be parsed.
    #[error("failed to parse the embedded signing keys")]
    Key,
}

/// Runs a simulator on a bound listener until `shutdown` completes. Connections that a scenario
/// keeps open are then closed.
pub async fn run(
    listener: TcpListener,
    settings: TwinSettings,
    shutdown: impl Future<Output = ()>,
) -> Result<(), TwinError> {
    let address = listener.local_addr().map_err(TwinError::Listen)?;
    let origin = settings
        .public_url
        .clone()
        .unwrap_or_else(|| format!("http://{address}"));
    let twin = Data::new(server::Twin::new(&settings, origin)?);
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
    .map_err(TwinError::Listen)?
    .run();
    let handle = server.handle();
    let serving = tokio::spawn(server);
    shutdown.await;
    handle.stop(false).await;
    timers.abort();
    match serving.await {
        Ok(served) => served.map_err(TwinError::Serve),
        Err(panic) => Err(TwinError::Serve(std::io::Error::other(panic))),
    }
}

#[cfg(test)]
mod tests;
