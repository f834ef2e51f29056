# Every target builds the environment first, which takes a fraction of a second when it is there.
# DS: the night, YYYY-MM-DD; without it the config's own default_ds.
CONF ?= conf/nights/retrieval/movielens.yaml
LAKE ?= ./lake

BIN := .venv/bin
# Spark starts its Python workers with this one, not with whatever `python3` is on the PATH.
export PYSPARK_PYTHON := $(CURDIR)/$(BIN)/python
SYSTEM_PYTHON := $(shell for p in python3.11 python3; do $$p -c '' 2>/dev/null && echo $$p && break; done)

.PHONY: help env night test lint format dictionary bench-scale bench-scale-rois bench-night bench-sampling bench-roi bench-published bench-topk bench-zoom bench-cvr bench-cvr-speed bench-gpu bench-nodes bench-nld bench-kgc bench-kgc-speed lock bundle doctor clean

help:
	@echo "make night       run one night: CONF=$(CONF) LAKE=$(LAKE) [DS=YYYY-MM-DD]"
	@echo "make test        run the tests"
	@echo "make doctor      print what was found of each part"
	@echo "make lint        check style and types            make format     set the style"
	@echo "make bench-roi   speed of building ROIs           make bench-zoom quality against training time"
	@echo "make dictionary  the data dictionary, libs/roilake/DICTIONARY.md"
	@echo "make bench-published  known baselines on their published splits"
	@echo "make bench-topk  exact top-K of all items against the plain matrix product"
	@echo "make bench-cvr   UKD against seven methods, on Coat and seven regimes of a generated truth"
	@echo "make bench-cvr-speed  training conversion models by one and by two workers"
	@echo "make bench-nodes node labels on ten published graphs, every model with the same trials"
	@echo "make bench-kgc   knowledge graphs with texts: SimKGC, TransE, ComplEx, RotatE and a hybrid, ranked"
	@echo "make bench-kgc-speed  completing a graph of WN18RR's size: pairs a second and core, memory"
	@echo "make bench-nld   node distributions of random graphs up to EDGES=1e7"
	@echo "make bench-gpu   training every kind of model on a GPU, against the CPU and against itself"
	@echo "make bench-scale cost of a graph's build against its size: EDGES=1e7"
	@echo "make bench-scale-rois  regions of interest on such a graph: EDGES=1e7 REQUESTS=1e5"
	@echo "make bench-night each step of a night at size, planned and spent: EDGES=1e6"
	@echo "make bundle      dist/roilake-code.tar.gz for spark-submit --archives"
	@echo "make lock        pin requirements.in anew         make clean      delete .venv and what checks leave"
	@echo "make env         only build the environment (every target does so first)"

env:
	@test -n "$(SYSTEM_PYTHON)" || { echo "roilake env: Python 3.11 not found:" \
		"apt-get install python3.11 python3.11-venv" >&2; exit 2; }
	@$(SYSTEM_PYTHON) conf/environment/build.py

night: env
	@$(BIN)/roilake night $(if $(DS),--ds $(DS)) --conf $(CONF) --lake $(LAKE)

# Two runs beside each other, a Spark session each, for two cores; as long as each other. The parts of one are run one by
# one: the two nights and what reads them, conversion, and all that needs no Spark. What they say is told last.
test: env
	@rest=$$(mktemp); trap 'rm -f '$$rest EXIT; run="$(BIN)/python -m pytest -q --durations=10"; \
	{ failed=0; for part in nights "spark and conversion and not nights" "not spark"; do $$run -m "$$part" || failed=1; done; \
	exit $$failed; } > $$rest 2>&1 & others=$$!; \
	$$run -m "spark and not conversion and not nights"; failed=$$?; \
	wait $$others || failed=1; cat $$rest; exit $$failed

doctor: env
	@$(BIN)/roilake doctor

lint: env
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: env
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench-roi bench-published bench-topk bench-zoom bench-cvr bench-cvr-speed bench-gpu bench-nodes bench-kgc bench-kgc-speed: env
	@$(BIN)/python -m tests.benchmarks.$(subst -,_,$@)

dictionary: env
	@$(BIN)/python -m roilake.runtime.dictionary > libs/roilake/DICTIONARY.md

# Events of the largest graph; the sizes below it are measured too. Spark SQL's way at 1e8 takes half an hour.
EDGES ?= 1e7

bench-scale: env
	@$(BIN)/python -m tests.benchmarks.bench_scale --edges $(EDGES)

bench-nld: env
	@$(BIN)/python -m tests.benchmarks.bench_nld --edges $(EDGES)

# Sampling in memory. PEER=python of an environment with DGL (tests/benchmarks/bench_sampling.py tells how to make one).
bench-sampling: env
	@$(BIN)/python -m tests.benchmarks.bench_sampling $(if $(PEER),--peer $(PEER))

# Regions of interest on the graph that bench-scale left, by both plans.
REQUESTS ?= 1e5

bench-scale-rois: env
	@$(BIN)/python -m tests.benchmarks.bench_scale_rois --edges $(EDGES) --requests $(REQUESTS)

# All steps of a night, and of the next one, planned and spent.
bench-night: env
	@$(BIN)/python -m tests.benchmarks.bench_night --edges $(EDGES)

lock: env
	@cd conf/environment && ../../$(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url requirements.in --output-file requirements.txt

# The code alone: each node has the Python environment at the same path, from one image or a shared disk.
bundle: env
	@mkdir -p dist
	@tar --exclude=__pycache__ -czf dist/roilake-code.tar.gz -C libs roilake -C .. jobs
	@echo dist/roilake-code.tar.gz

clean:
	@rm -rf .venv .env-log dist build .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info libs/*.egg-info
