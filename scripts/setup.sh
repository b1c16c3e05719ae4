#!/bin/sh
# Installs what building and testing needs and this machine lacks: a C compiler, make and
# the PostgreSQL server programs. Does nothing when all is there. No database is set up:
# tests and the demo run a private server of their own.
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

# Looks where the program itself looks: src/demo/postgres/binaries.rs.
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
if [ -z "$packages" ] && [ "$postgres" = false ]; then
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
say "done"
