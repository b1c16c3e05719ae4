//! Command line of the simulator.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::settings::TwinSettings;
use super::sign::SigningKey;
use super::{TwinError, run};

/// Run the gateway simulator
#[derive(Clone, Debug, clap::Args)]
pub struct TwinArgs {
    /// Address to listen on; port 0 selects a free port
    #[arg(long, default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// Shop ID and secret key; repeatable
    #[arg(long = "shop", value_name = "ID:SECRET", default_value = "1001:secret", value_parser = shop)]
    pub shops: Vec<(String, String)>,
    /// Random seed; the same seed and requests give the same responses
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Speed factor for delays, retention and webhook retries
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    pub time_scale: f64,
    /// Number of HTTP worker threads
    #[arg(long, default_value_t = 2)]
    pub workers: usize,
    /// Origin used in status_url, response_url and redirect_url [default: the listen address]
    #[arg(long)]
    pub public_url: Option<String>,
    /// Accept control API requests from other machines
    #[arg(long)]
    pub control_from_anywhere: bool,
}

fn shop(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((id, secret)) if !id.is_empty() && !secret.is_empty() => {
            Ok((id.to_owned(), secret.to_owned()))
        }
        _ => Err("must have the form ID:SECRET".to_owned()),
    }
}

/// Parses a speed factor.
pub fn scale(text: &str) -> Result<f64, String> {
    let scale: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if scale.is_finite() && (0.001..=1_000_000.0).contains(&scale) {
        return Ok(scale);
    }
    Err("must be from 0.001 to 1000000".to_owned())
}

/// Runs the simulator until SIGTERM or SIGINT. Prints one line of JSON when it listens.
pub fn main(args: TwinArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(serve(args)),
        Err(error) => Err(TwinError::Listen(error)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = std::error::Error::source(&error);
            let cause = cause.map(|cause| format!(": {cause}"));
            eprintln!("error: {error}{}", cause.unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: TwinArgs) -> Result<(), TwinError> {
    let listener = TcpListener::bind(args.listen).map_err(TwinError::Listen)?;
    let listen = listener.local_addr().map_err(TwinError::Listen)?;
    let public_url = args
        .public_url
        .unwrap_or_else(|| format!("http://{listen}"));
    let settings = TwinSettings {
        shops: args.shops.into_iter().collect::<BTreeMap<_, _>>(),
        seed: args.seed,
        time_scale: args.time_scale,
        workers: args.workers,
        public_url: Some(public_url.clone()),
        control_from_anywhere: args.control_from_anywhere,
        ..TwinSettings::default()
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(TwinError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(TwinError::Signal)?;
    let ready = json!({
        "listen": listen.to_string(),
        "public_key": SigningKey::Default.public(),
        "public_url": public_url,
    });
    print_ready_line(&ready.to_string()).map_err(TwinError::Listen)?;
    run(listener, settings, async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
    .await
}

/// Prints the ready line. Connections are accepted once the listener is bound, so the line may
/// precede the start of the server.
fn print_ready_line(line: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}
