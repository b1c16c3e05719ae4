//! Entry point of the simulator: parses the command line and calls the library.

use clap::Parser;
use std::process::ExitCode;

/// Simulate the UnonaPay gateway over HTTP
#[derive(Parser)]
#[command(name = "unonapay-twin", version)]
struct Cli {
    #[command(flatten)]
    args: unonapay_twin::TwinArgs,
}

fn main() -> ExitCode {
    unonapay_twin::main(Cli::parse().args)
}
