# make run: the study (dvc repro).  STUDY=NAME: another one of conf/study/, in a copy under build/.
STUDY ?= imdb
LEVEL ?= not long and not simulation
VENV := .venv/bin
COPY := build/$(STUDY)
export PATH := $(CURDIR)/$(VENV):$(PATH)
export DVC_NO_ANALYTICS := 1
export FAIRSWEEP_ROOT := $(CURDIR)
.PHONY: help run smoke test ui lint bench bench-full

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/'

run: $(VENV)/ready ## the study: download, pad, draw, tune, replicate, baseline, evaluate, report (STUDY=imdb)
ifeq ($(STUDY),imdb)
	dvc repro
else
	@rm -rf $(COPY)/conf $(COPY)/pipeline && mkdir -p $(COPY)/results && cp -R conf pipeline $(COPY) && cp -R results/probe $(COPY)/results
	@sed 's|conf/study/imdb.yaml|conf/study/$(STUDY).yaml|' dvc.yaml > $(COPY)/dvc.yaml
	@cd $(COPY) && if [ ! -d .dvc ]; then dvc init -q --no-scm; fi && dvc config core.check_update false
	cd $(COPY) && dvc repro
endif

smoke: ## a whole small study on generated text, in build/smoke
	@$(MAKE) --no-print-directory run STUDY=smoke

test: $(VENV)/ready ## the tests; LEVEL=long or LEVEL=simulation: only those
	python -m pytest -n 2 --no-loadscope-reorder -m "$(LEVEL)"

ui: $(VENV)/ready ## MLflow's pages on http://127.0.0.1:5000
	mlflow ui --host 127.0.0.1

lint: $(VENV)/ready ## ruff, mypy, the direction of imports
	ruff check . && ruff format --check . && mypy pipeline && lint-imports

bench: $(VENV)/ready ## every promise about speed, an hour: docs/performance.md
	python benchmarks/run.py

bench-full: $(VENV)/ready ## the same with more rounds
	python benchmarks/run.py --full

$(VENV)/ready: requirements.lock
	@sh .ci/setup.sh
