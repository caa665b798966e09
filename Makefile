# make demo    the whole study on a small model: minutes on a laptop
# make test    the tests
# make test-slow   the tests that take minutes each
# make test-slurm   the study on a SLURM that the test starts; as root, may install Debian packages
# make test-package  wheel and source in an empty environment, lm_eval and the server: a quarter of an
#              hour; about 7 GB of disk for a while, and 3 GB of downloads for torch's lowest release
# make test-browser   the pages in a headless Chromium; as root, may install Debian's
# make test-kernels   a GPU's kernels in Triton's interpreter, without a GPU; 200 MB of download
# make check   the tests' companions: lint, types, formatting, the workflow's own linter
# make docs    the documentation, as a site in site/
# make schema  the configuration's keys, described anew in workflow/schemas/
# make envs    the conda environments, written anew from envs/cpu.lock
# make clean   remove what make installed and built, and the demo's results; its report stays
# CORES=8 make demo

PYTHON ?= python3
CORES ?= 2
BIN := .venv/bin
STUDY := resources/studies/demo.yaml
MODEL := results/models/smollm2-135m-instruct
# That which torch asks for on a machine with a GPU.
TRITON := 3.7.1

.PHONY: demo test test-slow test-slurm test-package test-browser test-kernels check docs schema envs clean

demo: .venv/ready
	$(BIN)/snakemake --cores $(CORES) --quiet rules --configfile $(STUDY)

test: .venv/ready
	$(BIN)/pytest -n $(CORES) --dist loadfile --no-loadscope-reorder

test-slow: .venv/ready
	$(BIN)/pytest -n $(CORES) -m slow

test-slurm: .venv/ready
	@if [ "$$(id -u)" = 0 ] && ! dpkg --status slurm-wlm munge > /dev/null 2>&1; then \
	    apt-get update --quiet && apt-get install --yes --no-install-recommends slurm-wlm munge; fi
	$(BIN)/pip install --quiet --constraint envs/cpu.lock --editable '.[slurm]'
	$(BIN)/pytest -m slurm

test-package: .venv/ready | $(MODEL)/config.json
	$(BIN)/pip install --quiet --constraint envs/cpu.lock 'lm_eval[api]'
	$(BIN)/pytest -m package

test-browser: .venv/ready
	@if [ "$$(id -u)" = 0 ] && ! command -v chromium > /dev/null; then \
	    apt-get update --quiet && apt-get install --yes --no-install-recommends chromium; fi
	$(BIN)/pytest -m browser

test-kernels: .venv/ready
	$(BIN)/pip install --quiet --no-deps triton==$(TRITON)
	TRITON_INTERPRET=1 $(BIN)/pytest tests/test_gpu_kernels.py

check: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint --configfile $(STUDY)

docs: .venv-docs/ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict
	@echo "The documentation is site/index.html; with its search: $(PYTHON) -m http.server --directory site"

$(MODEL)/config.json: | .venv/ready
	$(BIN)/snakemake --cores 1 --quiet rules --configfile $(STUDY) -- $@

schema: .venv/ready
	$(BIN)/python -m powerblend schema > workflow/schemas/config.schema.json

envs:
	for file in envs/cpu.yaml envs/gpu.yaml; do \
	    sed -i '/^      - /d' $$file && sed -n 's/^[^#].*/      - &/p' envs/cpu.lock >> $$file; done

.venv/ready: envs/cpu.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "powerblend needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement envs/cpu.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

.venv-docs/ready: envs/docs.lock
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --requirement envs/docs.lock
	touch $@

clean:
	rm -rf .venv .venv-docs site results/demo
