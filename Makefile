# make run: the study (dvc repro). STUDY=NAME: another file of conf/study/, in a copy under build/.
STUDY ?= imdb
PORT ?= 5000
LEVEL ?= not long and not simulation and not night
VENV := .venv/bin
COPY := build/$(STUDY)
# One pytest process per usable core, at most four: each needs 2 GB of memory.
PROCESSES = $(shell $(VENV)/python -c "import psutil; print(min(4, len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, 'cpu_affinity') else 2))")
# A dvc that was killed while it wrote one of these files left it empty, and cannot read it again.
MEND := find .dvc/tmp/rwlock dvc.lock -size 0 -delete 2>/dev/null || true
export PATH := $(CURDIR)/$(VENV):$(PATH)
export DVC_NO_ANALYTICS := 1
.PHONY: help run smoke plan test night ui lint bench bench-full gpu-study
help: ## list the targets
	@grep -hE '^[a-z -]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/'
run: $(VENV)/ready ## the study: code, download, pad, sample, tune, replicate, baseline, evaluate, report (STUDY=imdb)
	@[ -f conf/study/$(STUDY).yaml ] || { echo "error: STUDY=$(STUDY): no such study. There are: $(notdir $(basename $(wildcard conf/study/*.yaml)))" >&2; exit 1; }
ifeq ($(STUDY),imdb)
	@$(MEND)
	dvc repro
else
	@rm -rf $(COPY)/conf $(COPY)/pipeline && mkdir -p $(COPY)/results $(COPY)/.fairsweep && cp -R conf pipeline $(COPY) && cp -R results/probe $(COPY)/results
	@echo "$(CURDIR)" > $(COPY)/.fairsweep/project
	@sed 's|conf/study/imdb.yaml|conf/study/$(STUDY).yaml|' dvc.yaml > $(COPY)/dvc.yaml
	@cd $(COPY) && if [ ! -d .dvc ]; then dvc init -q --no-scm; fi && dvc config core.check_update false && { $(MEND); }
	cd $(COPY) && dvc repro
endif
smoke: ## a small study on synthetic text, in build/smoke
	@$(MAKE) --no-print-directory run STUDY=smoke
plan: $(VENV)/ready ## how long the study takes on this machine and which gaps it detects, in a minute (STUDY=imdb)
	python -m pipeline.plan study=$(STUDY)
test: $(VENV)/ready ## the tests; LEVEL=long or LEVEL=simulation: only those; ARGS="-k seal --lf": options of pytest
	python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder -m "$(LEVEL)" $(ARGS)
night: $(VENV)/ready ## the slowest checks, about three hours, not run by CI; PART=faults: only this one
	python tests/night.py $(PART)
ui: $(VENV)/ready ## MLflow's pages on http://127.0.0.1:5000 (PORT=5000, STUDY=imdb)
	@python -c "import socket; socket.create_server(('127.0.0.1', $(PORT)))" 2>/dev/null || { echo "error: port $(PORT) of 127.0.0.1 is in use. Choose another: make ui PORT=$$(( $(PORT) + 1 ))" >&2; exit 1; }
	cd $(if $(filter imdb,$(STUDY)),.,$(COPY)) && mlflow ui --host 127.0.0.1 --port $(PORT)
lint: $(VENV)/ready ## ruff, mypy, the direction of imports
	ruff check . && ruff format --check . && mypy pipeline benchmarks && lint-imports
bench bench-full: $(VENV)/ready ## every promise about speed, an hour and a quarter; bench-full: more rounds (docs/performance.md)
	python benchmarks/run.py $(if $(filter bench-full,$@),--full)
gpu-study: $(VENV)/ready ## imdb_full on a GPU at hand for minutes: prints what to run there; FROM=FOLDER takes the results
	python benchmarks/gpu_study.py next imdb_full $(if $(FROM),--from $(FROM))
$(VENV)/ready: requirements.lock
	@sh .ci/setup.sh
