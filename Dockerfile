# The full image: what Dockerfile.minimal has, and the languages, linters, clients and tools of docs/images.md.
#
#   docker build -t claudebox:full .
#
# works on a fresh clone, with no Rust on the host. Versions and checksums are in images/pins. Everything is fetched
# in stages of its own, which BuildKit runs at the same time. scripts/image --full builds it too, also where no image
# can be pulled and every registry sits behind a mirror (see the stage `host`).
#
# VENDOR names what to fetch of the tools that no package registry has: `all`, `none`, or some of go, golangci-lint, gh,
# helm, kubectl, terraform and go-tools. For where not all of their hosts can be reached; the label says what it was.
#
# The Claude CLI is not in it: nobody but Anthropic may hand that out, so a box installs it before its first run. For an image of
# your own, which you hand to nobody, `--build-arg CLAUDE_CLI=baked` (scripts/image --with-cli) puts it in. The label says which.
#
# Builds with BuildKit and with the legacy builder: no heredocs, no `RUN --mount`, no TARGETARCH. The legacy
# builder runs every stage, so every stage must be possible everywhere.

ARG BASE_IMAGE=ubuntu:24.04
# Its glibc must not be newer than that of BASE_IMAGE.
ARG BUILDER_IMAGE=rust:1.95-slim-bookworm

# --- build: what is ours, laid out as it goes onto the image ------------------------------------------------
FROM ${BUILDER_IMAGE} AS build
WORKDIR /src
# The brackets: what there need not be.
COPY Cargo.toml Cargo.lock build.r[s] README.md LICENSE claude-cli.version ./
COPY src src
COPY images/claude-cli images/claude-cli/
COPY rootfs rootfs
COPY LICENSE dist/claudebo[x] dist/
COPY images/steps/binary images/steps/
RUN images/steps/binary

# --- host: the base, able to reach the registries the way the machine that builds does ----------------------
# .build-host/ is optional and never committed. scripts/image fills it with the machine's apt sources, npm and pip
# settings and CA bundle. The bracket lets the pattern match nothing (LICENSE is there because COPY must match
# something), and the variables may name files that do not exist. No layer of this stage is part of the final image.
FROM ${BASE_IMAGE} AS host
COPY LICENSE .build-hos[t] /build-host/
ENV APT_CONFIG=/build-host/apt.conf \
    NPM_CONFIG_USERCONFIG=/build-host/npmrc \
    DEBIAN_FRONTEND=noninteractive

# --- essentials: the base with the minimal image's packages and its user ------------------------------------
FROM host AS essentials
COPY images/steps/user /images/steps/
# hadolint ignore=DL3005,DL3008,DL3009 # security updates; an archive has one version of each package; `clean` clears up
RUN apt-get update \
    && apt-get upgrade -y \
    && apt-get install -y --no-install-recommends \
        ca-certificates \
        curl \
        git \
        jq \
        less \
        nano \
        openssh-client \
        procps \
        sudo \
        tzdata \
        wget \
    && /images/steps/user

FROM essentials AS system
COPY images/steps/clean /images/steps/
RUN /images/steps/clean

# --- packages: what the distribution has ---------------------------------------------------------------------
FROM essentials AS packages
COPY images/packages /images/
COPY images/steps/packages /images/steps/
RUN /images/steps/packages /images/packages

FROM packages AS python-tools
ARG PYTHON_VERSION=3.12
COPY images/python/requirements.txt /images/python/
COPY images/steps/python-tools /images/steps/
RUN /images/steps/python-tools "$PYTHON_VERSION"

# Without the files that `system` has too: those are a layer of their own.
FROM packages AS added
COPY images/steps/clean images/steps/added /images/steps/
COPY --from=system / /system/
RUN cp /images/steps/added /added && /images/steps/clean && /added

# --- from npm -------------------------------------------------------------------------------------------------
FROM host AS fetcher
# hadolint ignore=DL3008,DL3009 # only fetches, and stays behind; what it fetches is pinned
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl nodejs npm unzip
COPY images/pins /images/

FROM fetcher AS node
COPY images/steps/node /images/steps/
RUN /images/steps/node

FROM fetcher AS node-tools
COPY --from=node /out/ /usr/local/
COPY images/npm /images/npm/
COPY images/steps/npm-tools /images/steps/
RUN /images/steps/npm-tools

FROM fetcher AS claude-cli
COPY --from=node /out/ /usr/local/
COPY claude-cli.version /
COPY images/claude-cli /images/claude-cli/
COPY images/steps/claude-cli /images/steps/
ARG CLAUDE_CLI=none
RUN /images/steps/claude-cli "$CLAUDE_CLI"

FROM fetcher AS docker-client
COPY images/steps/docker-client /images/steps/
RUN /images/steps/docker-client

# --- from their vendors ---------------------------------------------------------------------------------------
FROM fetcher AS vendor
ARG VENDOR=all
# An argument ends with its stage; this is for those that are made from it.
ENV VENDOR=${VENDOR}
COPY images/steps/fetch images/steps/vendor /images/steps/

FROM vendor AS go
RUN /images/steps/vendor go

FROM vendor AS golangci-lint
RUN /images/steps/vendor golangci-lint

FROM vendor AS gh
RUN /images/steps/vendor gh

FROM vendor AS helm
RUN /images/steps/vendor helm

FROM vendor AS kubectl
RUN /images/steps/vendor kubectl

FROM vendor AS terraform
RUN /images/steps/vendor terraform

FROM vendor AS go-tools
ARG GOPROXY=https://proxy.golang.org
COPY --from=go /out/ /usr/local/
COPY images/steps/go-tools /images/steps/
RUN /images/steps/go-tools

# --- the image ------------------------------------------------------------------------------------------------
# From scratch, so that nothing a stage above has deleted stays behind in a layer. What changes most comes last.
FROM scratch
# hadolint ignore=DL3067 # a whole root, made for this
COPY --from=system / /
COPY --from=added /out/ /
COPY --from=python-tools /out/ /
COPY --from=node /out/ /usr/local/
COPY --from=node-tools /out/ /usr/local/
COPY --from=docker-client /out/ /usr/local/
COPY --from=go /out/ /usr/local/
COPY --from=go-tools /out/ /usr/local/
COPY --from=golangci-lint /out/ /usr/local/
COPY --from=terraform /out/ /usr/local/
COPY --from=kubectl /out/ /usr/local/
COPY --from=helm /out/ /usr/local/
COPY --from=gh /out/ /usr/local/
COPY --from=claude-cli /out/ /usr/local/
COPY --from=build /out/ /

ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    DISABLE_AUTOUPDATER=1 \
    CLAUDEBOX_IMAGE_VARIANT=full

# What is in this image: its tools, found and asked as the user Claude runs as, and its packages.
RUN /usr/share/claudebox/inventory

ARG BASE_IMAGE
ARG VERSION=dev
ARG REVISION=
ARG SOURCE=
ARG CLAUDE_CLI=none
ARG VENDOR=all
LABEL org.opencontainers.image.title="claudebox" \
      org.opencontainers.image.description="Claude Code in a container with a developer's tools, with one Rust binary as PID 1" \
      org.opencontainers.image.licenses="WTFPL" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      claudebox.cli="${CLAUDE_CLI}" \
      claudebox.manifest="/usr/share/claudebox/manifest.json" \
      claudebox.sbom="/usr/share/claudebox/sbom.cdx.json" \
      claudebox.vendor="${VENDOR}"

WORKDIR /workspace
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --start-interval=1s --retries=3 CMD ["claudebox", "healthcheck"]

# No USER: PID 1 prepares the box as root and runs everything else as `claude`.
ENTRYPOINT ["claudebox", "init", "--"]
