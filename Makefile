# Two commands do everything: `make up` runs iotd with all its servers, `make test` runs all tests.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
IOTD   := $(BIN)/iotd

.PHONY: up down run test test-ecosystem check chaos bench soak influxd clients clean help

up: $(VENV)/.runs   ## start the servers, load seven days of history, run the daemon in the foreground
	@$(IOTD) up

down: $(VENV)/.runs ## stop the daemon and the servers that `make up` started, and only these
	@$(IOTD) down

WORKERS ?= 4
test: ONLY = not ecosystem
test: $(VENV)/.develops influxd-if-possible ## make the environment and run all tests but the next, WORKERS=4 at once
	$(RUN_TESTS)

test-ecosystem: ONLY = ecosystem
test-ecosystem: $(VENV)/.develops influxd-if-possible ## those with Home Assistant, zigbee2mqtt, Telegraf (after `make clients`)
	$(RUN_TESTS)

RUN_TESTS = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal -m "$(ONLY)" $(ARGS)

check: $(VENV)/.develops ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

MINUTES ?= 10
SEED    ?= 0
chaos: $(VENV)/.develops ## inject faults for MINUTES=10 (SEED=0: a new one) and count what was lost
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) --seed $(SEED) $(ARGS)

HOURS ?= 168
soak: MINUTES = 20
soak: $(VENV)/.develops ## HOURS=168 simulated ones in MINUTES=20, with reloads and faults, and whether anything grows
	$(BIN)/python -m tests.soak --hours $(HOURS) --minutes $(MINUTES) $(ARGS)

bench: $(VENV)/.develops influxd clients ## measure beside the peers and the limits (ARGS="ingest-1 --rounds 3")
	$(BIN)/python -m tests.benchmarks $(ARGS)
	$(BIN)/python -m tests.benchmarks.failover
	$(BIN)/python -m tests.benchmarks.scrape
	$(BIN)/python -m tests.benchmarks.cli
	$(BIN)/python -m tests.benchmarks.rest
	$(BIN)/python -m tests.benchmarks.sustained
	$(BIN)/python -m tests.benchmarks.outage
	$(BIN)/python -m tests.benchmarks.telegraf
	$(BIN)/python -m tests.benchmarks.mqtt

influxd:            ## build a real influxd into the user's cache (go, cargo, clang, pkg-config; minutes, once)
	@bash tests/servers/influxd/build.sh

clients:            ## build Telegraf, Home Assistant, zigbee2mqtt and InfluxDB's clients into the user's cache (go, npm; once)
	@for name in telegraf homeassistant zigbee2mqtt influxclients; do bash tests/servers/$$name/build.sh || exit; done

.PHONY: influxd-if-possible
influxd-if-possible:
	@bash tests/servers/influxd/build.sh >/dev/null || echo "no influxd: its tests will be skipped" >&2

clean:              ## remove the virtual environment and what tools left here
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist

help:               ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */\1\t/' | expand -t 16

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "iotd needs Python 3.11 or newer; name one: make up PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "no venv module: install python3-venv (Debian), or name another Python with PYTHON=" >&2; exit 1; }

$(VENV)/.runs: pyproject.toml | $(VENV)/bin/python
	@echo "installing iotd into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.develops: pyproject.toml | $(VENV)/bin/python
	@echo "installing iotd with its test and development tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,bench,dev]'
	@touch $@ $(VENV)/.runs
