#!/bin/sh
# Installs what the tests need beside the toolchain and PostgreSQL, once, and prints the path of the
# program:
#
#   scripts/test-tools.sh              schemathesis, which tries the API out by its own description
#   scripts/test-tools.sh prometheus   Prometheus, which scrapes the service and answers the dashboard
#
# The first comes from PyPI into target/tools/api; Python's venv comes from Debian when it is missing.
# The second is the system's, or is unpacked from Debian's package into target/tools/prometheus, so that
# none is started on this machine; promtool lies beside it.
set -eu
cd "$(dirname "$0")/.."
exec </dev/null

wanted="schemathesis==4.32.5"
what=${1:-api}
tools=${CARGO_TARGET_DIR:-target}/tools/$what
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)

say() { printf 'test-tools: %s\n' "$*" >&2; }

apt() {
    as_root=
    [ "$(id -u)" -eq 0 ] || as_root="sudo -n"
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300 \
        -o Acquire::Retries=3 "$@" >&2
}

make_venv() {
    rm -rf "$tools/venv"
    python3 -m venv "$tools/venv" >/dev/null 2>&1
}

install() {
    say "getting $wanted"
    rm -f "$tools/stamp"
    if ! make_venv; then
        apt update || say "the package lists could not be renewed"
        apt install --no-install-recommends python3-venv
        make_venv
    fi
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check --retries 2 --timeout 20 "$wanted" >&2
    printf '%s' "$wanted" >"$tools/stamp"
}

has_prometheus() { "$1/prometheus" --version >/dev/null 2>&1 && "$1/promtool" --version >/dev/null 2>&1; }

# Taken out of its package, and not installed.
unpack_prometheus() {
    say "getting Prometheus"
    command -v apt-get >/dev/null || return 1
    rm -rf "$tools/package"
    mkdir "$tools/package"
    (
        cd "$tools/package"
        download() { apt-get -q -o APT::Sandbox::User= -o Acquire::Retries=3 download prometheus >&2; }
        download || {
            apt update
            download
        }
    ) || return 1
    dpkg-deb -x "$tools"/package/prometheus_*.deb "$tools/package"
    rm -rf "${tools:?}/bin"
    mv "$tools/package/usr/bin" "$tools/bin"
    rm -rf "$tools/package"
}

find_prometheus() {
    for directory in "$(dirname "$(command -v prometheus || echo /usr/bin/prometheus)")" "$tools/bin"; do
        if has_prometheus "$directory"; then
            printf '%s\n' "$directory/prometheus"
            return
        fi
    done
    if ! unpack_prometheus || ! has_prometheus "$tools/bin"; then
        say "Prometheus could not be had: install it, or make Debian's packages reachable once"
        exit 1
    fi
    printf '%s\n' "$tools/bin/prometheus"
}

# One at a time: tests and people may ask for it at once.
exec 9>"$tools/lock"
flock 9
if [ "$what" = prometheus ]; then
    find_prometheus
    exit
fi
# A directory that was moved has programs that no longer find their interpreter.
if [ "$(cat "$tools/stamp" 2>/dev/null)" != "$wanted" ] || ! "$tools/venv/bin/schemathesis" --version >/dev/null 2>&1; then
    install || {
        say "$wanted could not be installed: PyPI, or Debian for python3-venv, must be reachable once"
        exit 1
    }
fi
printf '%s\n' "$tools/venv/bin/schemathesis"
