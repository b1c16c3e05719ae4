#!/usr/bin/env bash
# Checks the dependencies: licences, sources and banned crates by deny.toml, known vulnerabilities where their
# database can be reached, and dependencies that no code uses. Builds cargo-deny and cargo-machete into
# target/tools/cargo, once.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

tools=${CARGO_TARGET_DIR:-$PWD/target}/tools/cargo
for wanted in cargo-deny@0.20.2 cargo-machete@0.9.2; do
    if [[ ! -x $tools/bin/${wanted%@*} ]]; then
        echo "check-dependencies: building $wanted" >&2
        cargo install --quiet --locked --root "$tools" "$wanted"
    fi
done
"$tools/bin/cargo-deny" --locked --workspace check licenses bans sources
if ! "$tools/bin/cargo-deny" --locked --workspace check advisories; then
    # Without the database nothing is known; with it, an advisory is a failure.
    [[ ! -d ${CARGO_HOME:-$HOME/.cargo}/advisory-dbs ]] || exit 1
    echo "SKIPPED: the database of advisories cannot be reached from here" >&2
fi
"$tools/bin/cargo-machete" .
