//! The command line. It parses and calls; it holds no logic.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    reconciler::cli::run(reconciler::cli::Cli::parse())
}
