#!/usr/bin/env bash
# Regenerates .sqlx, the descriptions of the SQL statements, on a private PostgreSQL with all migrations
# applied; with --check it only compares. Installs sqlx-cli into target/tools/sqlx, once.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

version=0.9.0
tools=${CARGO_TARGET_DIR:-$PWD/target}/tools/sqlx
if [[ ! -x $tools/bin/sqlx ]] || [[ $("$tools/bin/sqlx" --version) != *"$version"* ]]; then
    echo "sqlx: building sqlx-cli $version" >&2
    cargo install --quiet --locked --root "$tools" sqlx-cli --version "$version" \
        --no-default-features --features postgres,rustls
fi
cargo build --quiet --locked -p reconciler-testkit --bin with-postgres
export PATH=$tools/bin:$PATH SQLX_OFFLINE=false
exec "${CARGO_TARGET_DIR:-target}/debug/with-postgres" sh -ec '
    sqlx migrate run --source migrations >&2
    exec cargo sqlx prepare --workspace "$@" -- --all-targets' sh "$@"
