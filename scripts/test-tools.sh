#!/bin/sh
# Installs the one tool that the tests need beside the toolchain and PostgreSQL: schemathesis, which
# tries the API out by its own description. It comes from PyPI into target/tools/api, once; Python's
# venv comes from Debian when it is missing. Prints the path of the program.
set -eu
cd "$(dirname "$0")/.."
exec </dev/null

wanted="schemathesis==4.32.5"
tools=${CARGO_TARGET_DIR:-target}/tools/api
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

# One at a time: tests and people may ask for it at once.
exec 9>"$tools/lock"
flock 9
if [ "$(cat "$tools/stamp" 2>/dev/null)" != "$wanted" ] || [ ! -x "$tools/venv/bin/schemathesis" ]; then
    install || {
        say "$wanted could not be installed: PyPI, or Debian for python3-venv, must be reachable once"
        exit 1
    }
fi
printf '%s\n' "$tools/venv/bin/schemathesis"
