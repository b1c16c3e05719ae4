//! The command line. It parses and calls; it holds no logic.

use clap::Parser;
use std::process::ExitCode;

/// The C library's own was the largest item of the profile (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    reconciler::cli::run(reconciler::cli::Cli::parse())
}
