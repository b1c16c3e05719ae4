//! The command line. It parses and calls; it holds no logic.

use clap::Parser;
use std::process::ExitCode;

/// The C library's own was the largest item of the profile; with huge pages this one holds twice the
/// memory when idle (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    reconciler::cli::run(reconciler::cli::Cli::parse())
}
