//! PostgreSQL has no disk space left.
//!
//! Its data is on a file system of 96 MiB that the test fills up. If none can be mounted, for
//! example without root, the test limits the size of the server's files instead (`RLIMIT_FSIZE`):
//! writes fail as well, with another error number.

use crate::chaos::CaseParameters;
use crate::world::private_cluster_with;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::postgres::{ClusterOptions, PostgresCluster};
use tokio::time::Instant;

/// A small private file system.
struct Mount {
    directory: tempfile::TempDir,
    mounted: bool,
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount")
                .arg("-l")
                .arg(self.directory.path())
                .status();
        }
    }
}

impl Mount {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=96m,mode=0755", "tmpfs"])
            .arg(directory.path())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        Self { directory, mounted }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn filler(&self) -> PathBuf {
        self.directory.path().join("filler")
    }

    /// Fills all free space, and space that becomes free later.
    fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.filler())
            .unwrap();
        let piece = vec![0_u8; 4096];
        while file.write_all(&piece).is_ok() {}
    }
}

/// Returns the process ids of the server.
fn server(data: &Path) -> Vec<u32> {
    let Ok(text) = std::fs::read_to_string(data.join("postmaster.pid")) else {
        return Vec::new();
    };
    let first = text.lines().next().and_then(|line| line.parse().ok());
    let Some(postmaster) = first else {
        return Vec::new();
    };
    let children = format!("/proc/{postmaster}/task/{postmaster}/children");
    let children = std::fs::read_to_string(children).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|id| id.parse().ok());
    std::iter::once(postmaster).chain(children).collect()
}

/// Limits the size of the server's files, or removes the limit. Only the server's own user, or root
/// with all capabilities, may do so.
fn limit_files(data: &Path, bytes: &str) {
    use std::os::unix::fs::MetadataExt;
    let owner = std::fs::metadata(data).unwrap();
    for id in server(data) {
        let mut command = Command::new("prlimit");
        command.args([
            &format!("--pid={id}"),
            &format!("--fsize={bytes}:unlimited"),
        ]);
        if rustix::process::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        // A process that has just ended needs no limit.
        let _ = command.stderr(Stdio::null()).status();
    }
}

#[test]
fn postgresql_disk_is_full() {
    let mount = Mount::new();
    let options = ClusterOptions {
        data_dir: mount.mounted.then(|| mount.data()),
        settings: vec![("max_wal_size".to_owned(), "32MB".to_owned())],
        ..ClusterOptions::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut cluster, url): (PostgresCluster, String) =
        runtime.block_on(private_cluster_with(options));
    let mut plan = CaseParameters::new("PostgreSQL's disk is full");
    plan.setup = plan.setup.database(&url);
    plan.run(async |case| {
        let data = cluster.data_dir().to_owned();
        let until = Instant::now() + case.scale.outage;
        let mut failed = false;
        // The disk stays full until the server has noticed.
        while Instant::now() < until || !failed {
            match mount.mounted {
                true => mount.fill(),
                false => limit_files(&data, "8192"),
            }
            failed |= case.cannot_write().await;
            assert!(
                Instant::now() < until + case.scale.patience,
                "the disk was never full"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        match mount.mounted {
            true => std::fs::remove_file(mount.filler()).unwrap(),
            false => limit_files(&data, "unlimited"),
        }
        // A server that ended for lack of space is restarted, as its supervisor would.
        if server(&data).is_empty() {
            cluster.resume().unwrap();
        }
    });
    drop(cluster);
    drop(mount);
}
