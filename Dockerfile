# The image of the service.
#
#   docker build --build-arg RECONCILER_REVISION="$(git rev-parse HEAD)" -t reconciler .
#   docker build --target twin -t unonapay-twin .        # the simulator, an image of its own
#
# Built for the platform that it is built on: `docker buildx build --platform linux/amd64,linux/arm64`
# runs it once for each. The result needs glibc and libgcc and nothing else, so RUNTIME_IMAGE can as well
# be gcr.io/distroless/cc-debian12.
ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm
ARG RUNTIME_IMAGE=docker.io/library/debian:bookworm-slim

# hadolint ignore=DL3006
FROM ${RUST_IMAGE} AS build
# Queries were checked against a database when .sqlx was made; none is needed here.
ENV SQLX_OFFLINE=true \
    CARGO_INCREMENTAL=0 \
    CARGO_TERM_COLOR=never
WORKDIR /src
# .dockerignore lists what this may be.
COPY . .
ARG RECONCILER_REVISION=unknown
# The caches hold the downloaded and the compiled dependencies; cargo locks them itself. Each target has a
# directory of its own, so platforms that share a cache do not meet. Sources are touched because a cache
# can be newer than a checkout, and cargo goes by the time of a file.
RUN --mount=type=cache,id=reconciler-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=reconciler-target,target=/cache/target \
    target="/cache/target/$(rustc --print host-tuple)" \
    && find src crates -name '*.rs' -exec touch {} + \
    && RECONCILER_REVISION="${RECONCILER_REVISION}" cargo build --release --locked --bin reconciler --target-dir "${target}" \
    && install -D -m 0755 "${target}/release/reconciler" /out/reconciler \
    && test -s /etc/ssl/certs/ca-certificates.crt

# The simulator of the gateway, for the tests of whoever integrates. No part of the service's image.
FROM build AS build-twin
RUN --mount=type=cache,id=reconciler-registry,target=/usr/local/cargo/registry \
    --mount=type=cache,id=reconciler-target,target=/cache/target \
    target="/cache/target/$(rustc --print host-tuple)" \
    && cargo build --release --locked -p unonapay-twin --bin unonapay-twin --target-dir "${target}" \
    && install -D -m 0755 "${target}/release/unonapay-twin" /out/unonapay-twin

# hadolint ignore=DL3006
FROM ${RUNTIME_IMAGE} AS twin
LABEL org.opencontainers.image.title="unonapay-twin" \
      org.opencontainers.image.description="A simulator of UnonaPay's gateway, over real HTTP." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build-twin /out/unonapay-twin /usr/local/bin/unonapay-twin
USER 65532:65532
EXPOSE 8090
ENTRYPOINT ["/usr/local/bin/unonapay-twin"]
CMD ["--listen", "0.0.0.0:8090", "--control-from-anywhere"]

# hadolint ignore=DL3006
FROM ${RUNTIME_IMAGE}
ARG RECONCILER_REVISION=unknown
ARG RECONCILER_VERSION=dev
LABEL org.opencontainers.image.title="reconciler" \
      org.opencontainers.image.description="Brings every payment sent through UnonaPay's asynchronous mode to one durable, explained, final state." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${RECONCILER_VERSION}" \
      org.opencontainers.image.revision="${RECONCILER_REVISION}"
# Nothing runs in this stage, so that the base needs no shell. Without certificates the service does not
# start, and slim bases have none.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/reconciler /usr/local/bin/reconciler
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
# API, webhooks, operations. In a container the listeners must be bound to 0.0.0.0.
EXPOSE 8080 8081 9090
ENTRYPOINT ["/usr/local/bin/reconciler"]
CMD ["serve", "--config", "/etc/reconciler/config.toml"]
