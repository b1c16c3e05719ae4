//! The command line of the simulator. It parses and calls; it holds no logic.

use clap::Parser;
use std::process::ExitCode;

/// Simulates UnonaPay's gateway over HTTP
#[derive(Parser)]
#[command(name = "unonapay-twin", version)]
struct Cli {
    #[command(flatten)]
    args: unonapay_twin::Args,
}

fn main() -> ExitCode {
    unonapay_twin::main(Cli::parse().args)
}
