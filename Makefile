# `make` lists what there is. Everything runs in .venv, which `make env` creates.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

VENV := .venv
STAMP := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := $(CURDIR)/$(VENV)/collections
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

VERSION := $(shell sed -n 's/^version: *//p' galaxy.yml)
STAGES_MEASURED := unit
TARBALL := build/stackops-runbook-$(VERSION).tar.gz
# The longest first: two run side by side.
STAGES := backup-faults live e2e molecule accuracy-spread unit bench-short sanity lint install

.PHONY: accuracy accuracy-spread bench bench-short help demo demo-down env engine install lint live matrix molecule sanity unit test build coverage docs e2e backup-faults faults fleet fuzz

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: env ## Start the example stack with some faults, and say what is wrong with it
	@demo/run

demo-down: env ## Remove what the demo made
	@demo/down

env: $(STAMP) ## Create or update .venv

$(STAMP): tests/requirements.txt tests/tools/env
	@tests/tools/env $(VENV)
	@touch $@

lint: env ## yamllint, ruff, shellcheck, mypy (strict), ansible-lint (production), documentation, changelog, workflows
	@{ echo "ansible-lint: ansible-lint --strict --nocolor -q"; \
	   echo "yamllint: yamllint --strict ."; \
	   echo "ruff: ruff check ."; \
	   echo "mypy: PYTHONPATH= mypy"; \
	   echo "shellcheck: tests/tools/shellcheck"; \
	   echo "documentation: antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=all ."; \
	   echo "changelog: antsibull-changelog lint"; \
	   echo "workflows: check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml && zizmor --offline --no-progress --quiet .github"; } | python tests/tools/steps.py

unit: env ## Unit tests and the checks of the collection itself
	@python -m pytest tests/unit tests/meta

install: build ## Install the tarball beside nothing but ansible-core and jmespath, and run it
	@python -m pytest tests/install

# Without an engine it says why, and the tests that need one are skipped.
engine: env
	@tests/testbed/testbed engine || true

live: engine ## Tests of the modules against real containers
	@python -m pytest tests/live

e2e: engine ## Diagnose the real stack, fault by fault
	@python -m pytest tests/e2e

backup-faults: engine ## Faults injected into backup and restore of real stacks, with a spread of those that take long
	@python -m pytest tests/faults

faults: engine ## All faults of backup and restore, killed after every single step
	@ALL_STEPS=1 python -m pytest tests/faults

accuracy: engine ## How right the diagnosis is, on real faults; writes docs/accuracy.md
	@python tests/faults/measure-accuracy --record --write docs/accuracy.md

accuracy-spread: engine ## A few cases of every kind of the above
	@python tests/faults/measure-accuracy --spread --minutes 20

bench: engine ## How fast everything is, beside what it is compared with; writes docs/benchmarks.md
	@python tests/benchmarks/run_all.py --write docs/benchmarks.md

bench-short: env ## What of it takes little time; fails below 0.7 of a bar
	@python tests/benchmarks/run_all.py --short

fleet: engine ## Every playbook over N real hosts by SSH, each with another fault, and over odd ones: make fleet N=3
	@tests/fleet/fleet --hosts $(or $(N),3)

fuzz: env ## What reads texts from outside, guided by coverage: make fuzz SECONDS=600 TARGETS="rules archive"
	@python -c 'import atheris' 2>/dev/null || pip install --quiet --disable-pip-version-check --requirement tests/fuzz/requirements.txt
	@tests/fuzz/fuzz --seconds $(or $(SECONDS),60) $(TARGETS)

molecule: env ## Every Molecule scenario on real hosts, or make molecule SCENARIOS="diagnose …"
	@tests/tools/molecule $(SCENARIOS)

sanity: build ## ansible-test sanity on the built tarball
	@tests/tools/ansible-test sanity $(TARBALL)

matrix: build ## ansible-test sanity and units of the tarball on every ansible-core and Python that is here, or make matrix CORE=2.18
	@for kind in sanity units; do tests/tools/matrix run $$kind $(TARBALL) $(CORE); done

docs: env ## Build the documentation site into build/docs, with all links checked
	@tests/tools/docs_site build/docs

coverage: engine ## Lines of plugins/ that tests run, or make coverage STAGES_MEASURED="unit live e2e"; what was measured before counts as well
	@python tests/tools/coverage $(STAGES_MEASURED)

build: env ## Build the tarball into build/
	@mkdir -p build/new
	@flock build/new sh -c 'ansible-galaxy collection build --force --output-path build/new && mv build/new/*.tar.gz build'

test: build engine ## All tests; the last line counts them
	@python tests/tools/stages.py --jobs 2 $(STAGES)
