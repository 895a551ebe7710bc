# Everything a person or a machine does with this checkout. Needs python3 (3.11 or later) and
# python3-venv; all else is installed into .venv from the pinned, hashed requirements.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
DEMO_ARGS ?=
FUZZ_S ?= 300
PIP_COMPILE_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check --quiet install
LOCK := $(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-trusted-host \
	--no-emit-find-links --strip-extras --allow-unsafe --no-header

# A stamp tells what the environment holds; it is older than a lock file that has changed since.
RUN_STAMP := $(VENV)/kwota-run.stamp
DEV_STAMP := $(VENV)/kwota-dev.stamp

.PHONY: help
help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) \
		| awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'

$(RUN_STAMP): pyproject.toml requirements/run.in requirements/build.txt requirements/run.txt \
		requirements/demo.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "kwota needs Python 3.11 or later: name one with make PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing what kwota runs with into $(VENV)" >&2
	@for group in build run demo; do \
		$(PIP_INSTALL) --require-hashes -r requirements/$$group.txt; \
	done
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(DEV_STAMP): $(RUN_STAMP) requirements/dlms.txt requirements/dev.txt
	@echo "installing what checks kwota into $(VENV)" >&2
	@for group in dlms dev; do $(PIP_INSTALL) --require-hashes -r requirements/$$group.txt; done
	@touch $@

.PHONY: venv
venv: $(DEV_STAMP) ## make .venv with everything to develop and check

.PHONY: demo
demo: $(RUN_STAMP) ## simulated farm, broker, pool, agent and page; DEMO_ARGS="--miners 20"
	@$(BIN)/kwota demo $(DEMO_ARGS)

.PHONY: check
check: packages $(DEV_STAMP) ## everything that CI checks, in ten to twenty-five minutes on two cores
	@demo=$$(mktemp -d); \
	setsid tests/system/demo.sh "$$demo" "$$PWD/$(BIN)/python" & \
	trap 'kill -- -$$(cat "$$demo/pid") 2>/dev/null || true; rm -rf "$$demo"' EXIT; \
	set -m; \
	{ nice -n 15 $(MAKE) test-campaign >"$$demo/campaign" 2>&1 || touch "$$demo/campaign.failed"; } & \
	campaign=$$!; \
	set +m; \
	$(MAKE) test-fast || { kill -- -"$$campaign" 2>/dev/null; exit 1; }; \
	$(MAKE) tidy || { kill -- -"$$campaign" 2>/dev/null; exit 1; }; \
	wait "$$campaign"; \
	cat "$$demo/campaign"; \
	test ! -e "$$demo/campaign.failed"; \
	{ nice -n 10 $(MAKE) lint types layers manual >"$$demo/static" 2>&1 || touch "$$demo/static.failed"; } & \
	static=$$!; \
	KWOTA_DEMO="$$demo" $(MAKE) test-system; \
	wait "$$static"; \
	if test -e "$$demo/static.failed"; then cat "$$demo/static" >&2; exit 1; fi

.PHONY: packages
packages:
	@.ci/system-packages
	@.ci/node-packages

.PHONY: lint
lint: $(DEV_STAMP) ## ruff: rules and format
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

.PHONY: tidy
tidy: $(DEV_STAMP) ## the house's own rules for every file
	@$(BIN)/python -m pytest -q --timeout 600 tests/test_tidy.py

.PHONY: types
types: $(DEV_STAMP) ## mypy, strict
	@$(BIN)/mypy

.PHONY: layers
layers: $(DEV_STAMP) ## directions of imports
	@$(BIN)/lint-imports --no-logo

.PHONY: manual
manual: $(DEV_STAMP) ## the manual in build/manual; a warning, a dead link or a lost page is a failure
	@$(BIN)/python -m sphinx -q -E -W --keep-going -b html -d build/doctrees docs build/manual

# The fast tests wait for a third of their time, which the campaign uses: it gives way to them. The
# system tests wait much and compute little, so eight run at once, after the rest and beside the
# linters; `check` begins the long demonstration that they judge before everything else. Only files
# that name a mark are looked into: eight processes that import all of them take two minutes.
.PHONY: test
test: test-fast test-campaign test-system ## pytest: all parts

.PHONY: test-fast
test-fast: $(DEV_STAMP) ## pytest: all but the system tests, on three processes, with coverage
	@$(BIN)/python -m pytest -ra -n 3 --cov --ignore tests/test_tidy.py \
		-m "not system and not scenario and not closed_loop and not campaign and not torture"

.PHONY: test-campaign
test-campaign: $(DEV_STAMP) ## pytest: 500 drawn sites with faults in virtual time, on both cores
	@$(BIN)/python -m pytest -ra -m campaign $$(grep -rl 'mark\.campaign' tests --include='test_*.py')

.PHONY: test-system
test-system: $(DEV_STAMP) ## pytest: whole sites, on real sockets, files and brokers, or in virtual time
	@.ci/pytest-twice $(BIN)/python -n 8 --dist loadfile --no-loadscope-reorder -m "system or closed_loop" \
		$$(grep -rlE 'mark\.(system|closed_loop)' tests --include='test_*.py' | sort)

.PHONY: scenarios
scenarios: $(DEV_STAMP) ## every named scenario in virtual time, judged by the plant's true energy
	@$(BIN)/python -m pytest -ra -n 2 -m scenario

.PHONY: torture
torture: $(DEV_STAMP) ## late replies on every kind of Modbus line; each byte and proof of a log
	@$(BIN)/python -m pytest -ra -n 2 -m torture --ignore tests/torture

.PHONY: torture-journal
torture-journal: $(DEV_STAMP) ## 2 000 power cuts of the journal at any step, unsynced writes torn; needs cc
	@$(BIN)/python -m pytest -ra -n 2 -m torture tests/torture \
		--ignore tests/torture/test_image_cut.py --ignore tests/torture/test_agent_cut.py

.PHONY: torture-image
torture-image: $(DEV_STAMP) ## 100 power cuts of the journal and 100 of the agent on a real ext4; needs root and loop devices
	@$(BIN)/python -m pytest -ra -v -m torture tests/torture/test_image_cut.py tests/torture/test_agent_cut.py

.PHONY: outage
outage: $(DEV_STAMP) ## 72 hours of a thousand machines without a broker, and how they drain; twenty minutes
	@$(BIN)/python tests/torture/outage.py --commit-s 15 --json artefacts/outage.json

.PHONY: campaign
campaign: $(DEV_STAMP) ## 10 000 random farms with two faults each, in virtual time
	@$(BIN)/kwota-sim campaign --runs 10000 --faults 2 --seed 1 --json

.PHONY: bench-dispatch
bench-dispatch: $(DEV_STAMP) ## time a plan and a whole tick for up to 5 000 machines
	@$(BIN)/python tests/bench/bench_dispatch.py --json artefacts/bench-dispatch.json

.PHONY: bench-poll
bench-poll: $(DEV_STAMP) ## what polling costs: CPU and memory beside raw asyncio, pyasic, pyasic_rs; half an hour
	@$(BIN)/python tests/bench/bench_poll.py --json artefacts/bench-poll.json

.PHONY: bench-journal
bench-journal: $(DEV_STAMP) ## what a durable signed record costs beside plain SQLite, and how a day of backlog drains
	@$(BIN)/python tests/bench/bench_journal.py --json artefacts/bench-journal.json

.PHONY: fuzz-api
fuzz-api: $(DEV_STAMP) ## schemathesis against a running agent for five minutes; FUZZ_S=600
	@FUZZ_S=$(FUZZ_S) $(BIN)/python -m pytest -ra -n 0 tests/system/test_fuzz_api.py

.PHONY: looks
looks: $(DEV_STAMP) packages ## axe-core over more states, languages, widths and schemes of the page
	@LOOKS=all $(BIN)/python -m pytest -ra -n 2 tests/agent/status/page/test_axe.py

.PHONY: pictures
pictures: $(DEV_STAMP) ## the README's two pictures of the page, from the demonstration; six minutes
	@$(BIN)/python tests/bench/page_pictures.py

.PHONY: curve-discrepancy
curve-discrepancy: $(DEV_STAMP) ## how soon a tap or a bypass is found, and how often for nothing
	@$(BIN)/python tests/bench/curve_discrepancy.py --json artefacts/curve-discrepancy.json

.PHONY: curve-feeders
curve-feeders: $(DEV_STAMP) ## the same with meters at the feeders: how soon, and whether the place is right
	@$(BIN)/python tests/bench/curve_feeders.py --json artefacts/curve-feeders.json

.PHONY: fused-table
fused-table: $(DEV_STAMP) ## how far the estimate of a coarse register is off, beside the known technique
	@$(BIN)/python tests/bench/fused_table.py --json artefacts/fused-table.json

.PHONY: fmt
fmt: $(DEV_STAMP) ## format, and mend what ruff can mend
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

.PHONY: requirements
requirements: $(DEV_STAMP) ## lock again; PIP_COMPILE_ARGS=--upgrade takes newer versions
	@for group in build run demo dlms dev; do \
		$(LOCK) $(PIP_COMPILE_ARGS) --output-file=requirements/$$group.txt requirements/$$group.in; \
	done

.PHONY: clean
clean: ## remove what checks and builds leave behind; keeps .venv
	@rm -rf build artefacts *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis \
		.import_linter_cache .coverage .coverage.*
	@find agent drivers simulator tests -name __pycache__ -type d -prune -exec rm -rf {} +
