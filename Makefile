# make run: the study (dvc repro).  STUDY=NAME: another one of conf/study/, in a copy under build/.
STUDY ?= imdb
PORT ?= 5000
LEVEL ?= not long and not simulation and not night
# One process of pytest per core that this process may use, four at most: each needs 2 GB of memory.
PROCESSES = $(shell $(VENV)/python -c "import psutil; print(min(4, len(getattr(psutil.Process(), 'cpu_affinity', lambda: '12')())))")
PYTEST = python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
VENV := .venv/bin
STUDIES := $(notdir $(wildcard conf/study/*.yaml))
COPY := build/$(STUDY)
# A dvc that was killed while it wrote one of these left it empty, and reads it no more.
MEND := find .dvc/tmp/rwlock dvc.lock -size 0 -delete 2>/dev/null || true
export PATH := $(CURDIR)/$(VENV):$(PATH)
export DVC_NO_ANALYTICS := 1
.PHONY: help run smoke plan test night ui lint bench bench-full gpu-study

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/'

run: $(VENV)/ready ## the study: code, download, pad, draw, tune, replicate, baseline, evaluate, report (STUDY=imdb)
	@[ -f conf/study/$(STUDY).yaml ] || { echo "error: STUDY=$(STUDY): no such study. There are:" $(STUDIES:.yaml=) >&2; exit 1; }
ifeq ($(STUDY),imdb)
	@$(MEND)
	dvc repro
else
	@rm -rf $(COPY)/conf $(COPY)/pipeline && mkdir -p $(COPY)/results $(COPY)/.fairsweep && cp -R conf pipeline $(COPY) && cp -R results/probe $(COPY)/results
	@echo "$(CURDIR)" > $(COPY)/.fairsweep/project
	@sed 's|conf/study/imdb.yaml|conf/study/$(STUDY).yaml|' dvc.yaml > $(COPY)/dvc.yaml
	@cd $(COPY) && if [ ! -d .dvc ]; then dvc init -q --no-scm; fi && dvc config core.check_update false
	@cd $(COPY) && $(MEND)
	cd $(COPY) && dvc repro
endif

smoke: ## a whole small study on generated text, in build/smoke
	@$(MAKE) --no-print-directory run STUDY=smoke

plan: $(VENV)/ready ## what the study would take on this machine, in a minute, before it is paid for (STUDY=imdb)
	python -m pipeline.plan study=$(STUDY)

test: $(VENV)/ready ## the tests; LEVEL=long or LEVEL=simulation: only those; ARGS="-k seal --lf": options of pytest
	$(PYTEST) -m "$(LEVEL)" $(ARGS)

night: $(VENV)/ready ## the slowest checks, which CI does not run, about three hours; PART=faults: only this one
	python tests/night.py $(PART)

ui: $(VENV)/ready ## MLflow's pages on http://127.0.0.1:5000 (PORT=5000, STUDY=imdb)
	@python -c "import socket; socket.create_server(('127.0.0.1', $(PORT)))" 2>/dev/null || \
	{ echo "error: port $(PORT) of 127.0.0.1 is in use. Expected a free one: make ui PORT=$$(( $(PORT) + 1 ))" >&2; exit 1; }
	cd $(if $(filter imdb,$(STUDY)),.,$(COPY)) && mlflow ui --host 127.0.0.1 --port $(PORT)

lint: $(VENV)/ready ## ruff, mypy, the direction of imports
	ruff check . && ruff format --check . && mypy pipeline benchmarks && lint-imports

bench: $(VENV)/ready ## every promise about speed, an hour and a quarter: docs/performance.md
	python benchmarks/run.py

bench-full: $(VENV)/ready ## the same with more rounds
	python benchmarks/run.py --full

gpu-study: $(VENV)/ready ## imdb_full on a GPU that is at hand for minutes: says what to run there; FROM=FOLDER takes what came back
	python benchmarks/gpu_study.py next imdb_full $(if $(FROM),--from $(FROM))

$(VENV)/ready: requirements.lock
	@sh .ci/setup.sh
