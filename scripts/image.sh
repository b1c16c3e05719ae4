#!/usr/bin/env bash
# Builds the image and tries it as a cluster would run it: not root, read-only, without capabilities.
#
#   scripts/image.sh                  bases made here of Debian's packages and this machine's toolchain
#   RUST_IMAGE=… RUNTIME_IMAGE=… scripts/image.sh      bases from a registry
#   DATABASE_URL=postgres://… scripts/image.sh         also migrates that database and serves from it
#
# Needs root and Debian; installs buildah, podman, runc and debootstrap where they are missing. Images and
# layers stay under target/image. Takes about eight minutes at first and less after that.
set -euo pipefail
cd "$(dirname "$0")/.."
exec </dev/null

work=$PWD/target/image
tag=localhost/reconciler:check
passed=0

say() { printf 'image: %s\n' "$*" >&2; }
fail() {
    say "FAILED $*"
    exit 1
}
pass() {
    passed=$((passed + 1))
    say "ok: $*"
}

[[ $(id -u) -eq 0 ]] || fail "run it as root: images are built without a daemon"
mkdir -p "$work"

setup() {
    local missing=() tool
    for tool in buildah podman runc debootstrap; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    if ((${#missing[@]})); then
        say "installing ${missing[*]}"
        apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -y -qq install --no-install-recommends "${missing[@]}" >/dev/null
    fi
    # A storage of our own: nothing is left in the machine's.
    printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/root"\nrunroot = "%s/run"\n' "$work" "$work" \
        >"$work/storage.conf"
    export CONTAINERS_STORAGE_CONF=$work/storage.conf BUILDAH_ISOLATION=chroot
}

have_image() { buildah inspect --type image "$1" >/dev/null 2>&1; }

# Makes what the registry calls debian:bookworm-slim, near enough: a Debian without certificates.
make_debian() {
    have_image "$1" && return
    say "making $1"
    local mirror root=$work/debian container
    mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
    rm -rf "$root"
    debootstrap --variant=minbase bookworm "$root" "${mirror:-http://deb.debian.org/debian}" >"$work/debootstrap.log"
    # What the slim image leaves out as well.
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,info,locale,man}/*
    # Where packages come from on this machine; the build's base is made of this one, and needs some.
    cp -r /etc/apt/sources.list.d/. "$root/etc/apt/sources.list.d/"
    container=$(buildah from scratch)
    tar -C "$root" -cf "$work/debian.tar" .
    buildah add --quiet "$container" "$work/debian.tar" / >/dev/null
    buildah config --cmd /bin/bash \
        --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit --quiet "$container" "$1" >/dev/null
    buildah rm "$container" >/dev/null
    rm -rf "$root" "$work/debian.tar"
}

# The same with a C compiler, certificates and this machine's Rust.
make_rust() {
    have_image "$2" && return
    say "making $2"
    local container sysroot
    sysroot=$(rustc --print sysroot)
    container=$(buildah from --pull-never "$1")
    buildah run "$container" -- sh -c 'apt-get -qq update && apt-get -y -qq install --no-install-recommends \
        gcc libc6-dev ca-certificates && rm -rf /var/lib/apt/lists/*' >"$work/apt.log" 2>&1 \
        || fail "packages of the build base, see $work/apt.log"
    buildah add --quiet "$container" "$sysroot" /usr/local/rust >/dev/null
    buildah config --env PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        --env CARGO_HOME=/usr/local/cargo "$container"
    buildah commit --quiet "$container" "$2" >/dev/null
    buildah rm "$container" >/dev/null
}

build() {
    local arguments=(--format docker --layers --tag "$tag"
        --build-arg "RECONCILER_REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)")
    if [[ -n ${RUST_IMAGE:-} || -n ${RUNTIME_IMAGE:-} ]]; then
        arguments+=(--build-arg "RUST_IMAGE=${RUST_IMAGE:?}" --build-arg "RUNTIME_IMAGE=${RUNTIME_IMAGE:?}")
    else
        local debian=docker.io/library/debian:bookworm-slim rust=docker.io/library/rust:1.95-bookworm
        make_debian "$debian"
        make_rust "$debian" "$rust"
        arguments+=(--pull-never)
        # The crates come through whatever this machine trusts; the image keeps its own certificates.
        arguments+=(--volume /etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:ro)
    fi
    say "building"
    buildah bud "${arguments[@]}" . >"$work/build.log" 2>&1 || {
        tail -n 30 "$work/build.log" >&2
        fail "the build, see $work/build.log"
    }
    pass "it builds"
}

# As a restricted pod would run it.
run() {
    podman --runtime runc --cgroup-manager cgroupfs run --rm --network=host --read-only --cap-drop=ALL \
        --security-opt no-new-privileges --ulimit nofile=20000:20000 --ulimit nproc=1000:1000 "$@"
}

inspect() { buildah inspect --type image --format "{{$1}}" "$tag"; }

look() {
    [[ $(inspect .OCIv1.Config.User) == 65532:65532 ]] || fail "it does not run as 65532"
    pass "it is not root"
    local label labels help
    labels=$(inspect .OCIv1.Config.Labels)
    for label in title revision version licenses; do
        [[ $labels == *"org.opencontainers.image.$label:"* ]] || fail "label $label"
    done
    pass "it is labelled"
    help=$(run "$tag" --help) || fail "--help"
    [[ $help == *check-config* ]] || fail "--help does not name the commands"
    pass "--help answers, read-only and without capabilities"
}

serve() {
    local config=$work/config port
    port=$((20000 + RANDOM % 10000))
    mkdir -p "$config"
    # The gateway's address is never asked here; loopback keeps it so.
    sed -e "s/^listen = \"127.0.0.1:8080\"/listen = \"0.0.0.0:$port\"/" \
        -e "s/^listen = \"127.0.0.1:8081\"/listen = \"0.0.0.0:$((port + 1))\"/" \
        -e "s/^listen = \"127.0.0.1:9090\"/listen = \"0.0.0.0:$((port + 2))\"/" \
        -e "s/replace-me-with-the-output-of-openssl-rand-hex-32/$(printf 'f%.0s' {1..32})/" \
        -e "s/replace-me-with-the-sha-256-of-a-key/$(printf '0%.0s' {1..64})/" \
        -e 's/replace-me-with-a-whsec_/whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=/' \
        -e 's/"replace-me"/"a-key"/' \
        -e 's|^base_url = .*|base_url = "http://127.0.0.1:9"|' config.example.toml >"$config/config.toml"
    chmod -R a+rX "$config"
    local common=(--volume "$config:/etc/reconciler:ro" --env "DATABASE_URL=$DATABASE_URL")
    run "${common[@]}" "$tag" migrate --config /etc/reconciler/config.toml >/dev/null || fail "migrate"
    pass "it migrates the database"
    run --name reconciler-check "${common[@]}" "$tag" >"$work/serve.log" 2>&1 &
    local pid=$! asked
    trap 'podman --runtime runc --cgroup-manager cgroupfs stop --ignore --time 40 reconciler-check >/dev/null 2>&1 || true' EXIT
    for asked in livez readyz; do
        curl --silent --show-error --fail --max-time 5 --retry 20 --retry-delay 1 --retry-all-errors \
            "http://127.0.0.1:$((port + 2))/$asked" >/dev/null 2>"$work/curl.log" || {
            tail -n 20 "$work/serve.log" >&2
            fail "/$asked does not answer 200"
        }
        pass "/$asked answers 200"
    done
    podman --runtime runc --cgroup-manager cgroupfs stop --time 40 reconciler-check >/dev/null
    wait "$pid" || fail "it does not stop with 0 on SIGTERM"
    trap - EXIT
    pass "it stops on SIGTERM"
}

setup
build
look
if [[ -n ${DATABASE_URL:-} ]]; then
    serve
else
    say "DATABASE_URL is not given: serving is not tried"
fi
say "$(podman images --format '{{.Size}}' "$tag") for $tag in $work, of which our own are"
podman history --format '{{.Size}}\t{{.CreatedBy}}' "$tag" | grep COPY | cut -f 1 | sed 's/^/image:   /' >&2
echo "$passed passed, 0 failed"
