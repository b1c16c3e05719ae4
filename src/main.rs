//! The command line. It parses and calls; it holds no logic.

use clap::Parser;
use std::process::ExitCode;

/// Chosen by measurement: docs/performance.md has the numbers.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    reconciler::cli::run(reconciler::cli::Cli::parse())
}
