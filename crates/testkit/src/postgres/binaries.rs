//! Finds the PostgreSQL server programs, and a user who may run them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::ClusterError;

/// Oldest major version that the service supports.
const OLDEST: u32 = 14;

/// A directory with `initdb` and `postgres` of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) directory: PathBuf,
    pub(super) major: u32,
}

/// Finds server programs: those in `RECONCILER_PG_BIN`, else the newest of Debian's, else those
/// that `pg_config` names, else those on the `PATH`.
///
/// `wanted` restricts the search to one major version, because a data directory belongs to one.
pub(super) fn find(wanted: Option<u32>) -> Result<Binaries, ClusterError> {
    let fits = |found: &Binaries| match wanted {
        Some(major) => found.major == major,
        None => found.major >= OLDEST,
    };
    if let Some(directory) = std::env::var_os("RECONCILER_PG_BIN") {
        let directory = PathBuf::from(directory);
        return inspect(&directory)
            .filter(fits)
            .ok_or(ClusterError::NamedBinaries {
                directory,
                oldest: wanted.unwrap_or(OLDEST),
            });
    }
    let mut packaged: Vec<Binaries> = debian_directories()
        .iter()
        .filter_map(|directory| inspect(directory))
        .collect();
    packaged.sort_by_key(|found| std::cmp::Reverse(found.major));
    packaged
        .into_iter()
        .find(fits)
        .or_else(|| {
            pg_config()
                .and_then(|directory| inspect(&directory))
                .filter(fits)
        })
        .or_else(|| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path)
                .filter_map(|directory| inspect(&directory))
                .find(fits)
        })
        .ok_or(ClusterError::NoBinaries {
            oldest: wanted.unwrap_or(OLDEST),
        })
}

fn debian_directories() -> Vec<PathBuf> {
    let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") else {
        return Vec::new();
    };
    versions
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect()
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config")
        .arg("--bindir")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(text.trim()))
}

/// Returns the server programs in a directory. A client-only package has a directory without them.
fn inspect(directory: &Path) -> Option<Binaries> {
    if !directory.join("initdb").is_file() {
        return None;
    }
    let output = Command::new(directory.join("postgres"))
        .arg("--version")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let major = major(std::str::from_utf8(&output.stdout).ok()?)?;
    // The server looks for its other files relative to its real path.
    let directory = directory.canonicalize().ok()?;
    Some(Binaries { directory, major })
}

/// Parses the major version of `postgres (PostgreSQL) 15.18 (Debian …)` or `… 18beta1`.
fn major(version: &str) -> Option<u32> {
    let (_, version) = version.split_once("(PostgreSQL) ")?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// A user to run the server as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServerUser {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Returns the user to run the server as, or `None` for the current user.
///
/// The server refuses root, so root runs it as `postgres`, or as `nobody` if that user does not
/// exist.
pub(super) fn unprivileged_user() -> Option<ServerUser> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = user_in(&passwd, "postgres").or_else(|| user_in(&passwd, "nobody"));
    Some(user.unwrap_or(ServerUser {
        uid: 65_534,
        gid: 65_534,
    }))
}

fn user_in(passwd: &str, name: &str) -> Option<ServerUser> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(ServerUser { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_parsed_as_the_server_prints_them() {
        assert_eq!(
            major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major("psql 15"), None);
        assert_eq!(major(""), None);
    }

    #[test]
    fn users_are_found_by_their_full_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres2:x:5:6::/:/bin/sh\n\
                      postgres:x:104:112:PostgreSQL:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(
            user_in(passwd, "postgres"),
            Some(ServerUser { uid: 104, gid: 112 })
        );
        assert_eq!(user_in(passwd, "nobody"), None);
        assert_eq!(user_in("nobody:x:broken:1::/:/", "nobody"), None);
    }

    #[test]
    fn a_directory_without_a_server_is_skipped() {
        assert_eq!(inspect(Path::new("/")), None);
        assert_eq!(inspect(Path::new("/no/such/directory")), None);
    }
}
