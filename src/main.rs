//! Entry point: parses the command line and calls [`reconciler::cli`].

use clap::Parser;
use std::process::ExitCode;

/// The allocator of the process. The C library's allocator was the largest item of the CPU profile.
/// With huge pages, mimalloc uses twice the memory when idle (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    reconciler::cli::run(reconciler::cli::Cli::parse())
}
