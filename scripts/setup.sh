#!/bin/sh
# Installs what building and testing needs and this machine lacks: a C compiler, make and
# the PostgreSQL server programs. Does nothing when all is there. No database is set up:
# tests and the demo run a private server of their own.
#
# With `test` as its argument also what the tests need to make trouble: libfaketime, and a
# PgBouncer that knows prepared statements.
set -eu

oldest_postgres=14

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# Whether a directory has the server programs, in a version that will do.
has_server() {
    [ -x "$1/initdb" ] && [ -x "$1/postgres" ] || return 1
    version=$("$1/postgres" --version 2>/dev/null | sed -n 's/.*(PostgreSQL) \([0-9]*\).*/\1/p')
    [ -n "$version" ] && [ "$version" -ge "$oldest_postgres" ]
}

# Looks where the program itself looks: crates/testkit/src/postgres/binaries.rs.
have_postgres() {
    if [ -n "${RECONCILER_PG_BIN:-}" ]; then
        has_server "$RECONCILER_PG_BIN" && return 0
        fail "RECONCILER_PG_BIN=$RECONCILER_PG_BIN has no initdb and postgres $oldest_postgres or newer"
    fi
    for directory in /usr/lib/postgresql/*/bin; do
        has_server "$directory" && return 0
    done
    have pg_config && has_server "$(pg_config --bindir)" && return 0
    have postgres && has_server "$(dirname "$(command -v postgres)")"
}

# The first PgBouncer that keeps prepared statements in transaction mode.
oldest_pgbouncer=1.21
# For root a place that the server's user can enter.
if [ "$(id -u)" -eq 0 ]; then
    cache=/var/cache/reconciler/pgbouncer
else
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/reconciler/pgbouncer
fi

have_faketime() { [ -n "$(find /usr/lib /usr/lib64 -name libfaketimeMT.so.1 2>/dev/null)" ]; }

# Whether this PgBouncer runs here, and is new enough.
good_pgbouncer() {
    version=$("$1" --version 2>/dev/null | sed -n 's/^PgBouncer \([0-9.]*\).*/\1/p')
    [ -n "$version" ] || return 1
    lower=$(printf '%s\n' "$oldest_pgbouncer" "$version" | sort -V | head -n 1)
    [ "$lower" = "$oldest_pgbouncer" ]
}

# Looks where the tests look: tests/it/world/pooler.rs.
have_pgbouncer() { good_pgbouncer "$cache/pgbouncer" || good_pgbouncer /usr/sbin/pgbouncer; }

# Debian 12 has one that is too old. That of Debian 13 is unpacked, together with the
# libraries that it needs, into a directory of its own, and nothing of it is installed.
fetch_pgbouncer() {
    say "unpacking PgBouncer of Debian 13 in $cache"
    mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
    work=$(mktemp -d)
    mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/root"
    : >"$work/status"
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [signed-by=$key] ${mirror:-http://deb.debian.org/debian} trixie main" >"$work/sources.list"
    private() {
        apt-get -q -o APT::Sandbox::User= -o Acquire::Retries=3 \
            -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=- \
            -o "Dir::State::Lists=$work/lists" -o "Dir::State::Status=$work/status" \
            -o "Dir::Cache=$work" -o "Dir::Cache::Archives=$work/archives" "$@" </dev/null >&2
    }
    private update
    (
        cd "$work/archives"
        private download pgbouncer libc6 libevent-2.1-7t64 libcares2 libssl3t64 libpam0g \
            libsystemd0 libzstd1 libcap2 libaudit1 libcap-ng0 libgcc-s1 zlib1g
    )
    for package in "$work"/archives/*.deb; do dpkg-deb -x "$package" "$work/root"; done
    loader=$(find "$work/root/usr/lib" -name 'ld-linux*.so.*' | head -n 1)
    libraries=$cache/$(basename "$(dirname "$loader")")
    rm -rf "$cache"
    mkdir -p "$cache"
    cp -a "$(dirname "$loader")" "$cache"
    cp "$work/root/usr/sbin/pgbouncer" "$cache/program"
    # Its own loader: the C library of this machine may be older.
    printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' \
        "$libraries/$(basename "$loader")" "$libraries" "$cache/program" >"$cache/pgbouncer"
    chmod a+x "$cache/pgbouncer"
    chmod -R a+rX "$(dirname "$cache")"
    rm -rf "$work"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 apt-get -y -q \
        -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null >&2
}

# Debian's package makes and starts a cluster of its own unless told otherwise. It is told
# for the time of the installation alone: it is not ours to change for good.
install_postgres() {
    conf=/etc/postgresql-common/createcluster.conf
    apt install --no-install-recommends postgresql-common
    as_root cp -p "$conf" "$conf.before-setup"
    trap 'as_root mv -f "$conf.before-setup" "$conf"' EXIT
    echo 'create_main_cluster = false' | as_root tee -a "$conf" >/dev/null
    apt install --no-install-recommends postgresql
    as_root mv -f "$conf.before-setup" "$conf"
    trap - EXIT
}

if ! have cargo && [ ! -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    fail "cargo is missing: install Rust from https://rustup.rs"
fi

packages=
have cc || packages="$packages gcc libc6-dev"
have make || packages="$packages make"
postgres=false
have_postgres || postgres=true
pgbouncer=false
if [ "${1:-}" = test ]; then
    have_faketime || packages="$packages libfaketime"
    have_pgbouncer || pgbouncer=true
fi
if [ -z "$packages" ] && [ "$postgres" = false ]; then
    [ "$pgbouncer" = true ] || exit 0
    have apt-get || fail "please install: PgBouncer $oldest_pgbouncer or newer"
    fetch_pgbouncer
    have_pgbouncer || fail "PgBouncer $oldest_pgbouncer or newer is still missing"
    exit 0
fi

wanted="$packages"
[ "$postgres" = true ] && wanted="$wanted postgresql"
have apt-get || fail "please install:$wanted (PostgreSQL $oldest_postgres or newer, server included)"
[ "$(id -u)" -eq 0 ] || have sudo || fail "please install as root: apt-get install$wanted"

say "installing:$wanted"
apt update || say "the package lists could not be renewed, going on with those that are there"
# shellcheck disable=SC2086 # a list of words
[ -z "$packages" ] || apt install --no-install-recommends $packages
[ "$postgres" = false ] || install_postgres
have_postgres || fail "PostgreSQL $oldest_postgres or newer is still missing"
if [ "$pgbouncer" = true ]; then
    fetch_pgbouncer
    have_pgbouncer || fail "PgBouncer $oldest_pgbouncer or newer is still missing"
fi
say "done"
