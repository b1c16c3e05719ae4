//! The service's clock jumps by an hour, ahead and behind.
//!
//! libfaketime intercepts reads of the system clock. It does not change the monotonic clock, like a
//! real jump.

use crate::chaos::CaseParameters;
use std::path::{Path, PathBuf};

/// Returns the path of libfaketime.
fn library() -> String {
    let places = ["/usr/lib", "/usr/lib64"].into_iter().flat_map(|base| {
        let below = std::fs::read_dir(base).into_iter().flatten().flatten();
        let mut directories: Vec<PathBuf> = below.map(|entry| entry.path()).collect();
        directories.push(base.into());
        directories
    });
    let names = ["faketime/libfaketimeMT.so.1", "libfaketimeMT.so.1"];
    let found = places
        .flat_map(|place| names.map(|name| place.join(name)))
        .find(|path| path.is_file());
    let path = found.expect("libfaketime: scripts/setup.sh installs it");
    path.to_string_lossy().into_owned()
}

/// A clock whose offset is read from a file.
struct Clock {
    directory: tempfile::TempDir,
}

impl Clock {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Self { directory };
        clock.jump("+0");
        clock
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
    }

    /// Sets the offset from the real time.
    fn jump(&self, offset: &str) {
        write_whole(&self.file(), offset);
    }

    fn environment(&self) -> Vec<(String, String)> {
        let file = self.file().to_string_lossy().into_owned();
        [
            ("LD_PRELOAD", library()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_DONT_RESET", "1".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

/// Replaces the file atomically, so that no reader sees a part of it.
fn write_whole(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

#[test]
fn service_clock_jumps() {
    let clock = Clock::new();
    let mut plan =
        CaseParameters::new("the service's clock jumps an hour ahead, an hour behind, and back");
    plan.environment = clock.environment();
    plan.run(async |case| {
        clock.jump("+3600");
        case.outage().await;
        clock.jump("-3600");
        case.outage().await;
        clock.jump("+0");
    });
}
