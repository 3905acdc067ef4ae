# make demo   environment, install, then the main job on an embedded task: probe and fine-tuning, a table and a page
# make test   environment, install, then every check CI runs
# make check  the checks alone, in the environment that is there
# make test-slow   the tests that take longest: all 19 tasks of VTAB-1k from a hub and from the folder, a part of the corpus; before each release
# make test-lowest   the tests with the lowest versions that pyproject.toml allows; before each release
# make docs   the pages of docs/ as build/site/index.html, which needs no server
# make page-image   docs/page.webp, the page in README, from the results of the demo; needs Chromium
# make digests   after a change of code that can move a number: its version and digest, in mixer_bench/system/code.toml
# make dist   sdist and wheel in dist/, checked, and the wheel tried in environments of its own; before each release
# make gate   the embedded tasks against results/baselines/embedded.json: did accuracy drop?

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
RESULTS ?= results
unexport PYTHONDONTWRITEBYTECODE # hundreds of processes of the tests would compile the same modules
MODELS = mixer_nano,vit_nano,resnet_nano
CONTROLS = random:mixer_nano,random:vit_nano,random:resnet_nano,pixels

.NOTPARALLEL: # both ways to install make one environment
.PHONY: demo test test-slow test-lowest check docs page-image digests dist gate install clean

demo: $(VENV)/.installed
	$(BIN)/mixer-bench run --task clipart --model $(MODELS),$(CONTROLS) --protocol fewshot --shots 1,5,10 --seeds 10 --output-dir $(RESULTS)
	$(BIN)/mixer-bench run --task clipart --model $(MODELS) --protocol finetune --preset small --set steps=100 --set warmup=10 --output-dir $(RESULTS)
	$(BIN)/mixer-bench report --results $(RESULTS)
	$(BIN)/mixer-bench report --results $(RESULTS) --format html

test: $(VENV)/.installed-dev check gate

# Tests run a process a core with one thread each: threads of several processes on the same cores wait for each other.
# Who has none left takes tests of another: some take as long as hundreds do. Types are checked while tests wait.
check:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory docs
	$(BIN)/mypy & OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal -m "not slow"; tests=$$?; wait $$! && exit $$tests

test-slow: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m slow

# A link that leads nowhere ends it. The variable: no advertisement of another program.
docs:
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

page-image: $(VENV)/.installed-dev
	$(MAKE) --no-print-directory demo RESULTS=build/page
	PYTHONPATH=. $(BIN)/python tools/page_image.py build/page/report.html docs/page.webp

test-lowest:
	mkdir -p build
	$(PYTHON) tools/lowest.py > build/lowest.txt
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/pip install --quiet --disable-pip-version-check --constraint build/lowest.txt --editable '.[dev]'
	OMP_NUM_THREADS=1 build/lowest/bin/pytest -n auto

digests: $(VENV)/.installed
	$(BIN)/python tools/digests.py

dist:
	$(PYTHON) tools/dist.py

# A cache of its own: features kept from before would hide what another torch, timm or Pillow moves.
gate: $(VENV)/.installed
	rm -rf build/gate
	MIXER_BENCH_CACHE=build/gate/cache $(BIN)/mixer-bench run --task embedded --model $(MODELS),pixels --protocol fewshot,knn --shots 5,10 --output-dir build/gate
	$(BIN)/mixer-bench check results/baselines/embedded.json --results build/gate --junit build/gate/junit.xml

install: $(VENV)/.installed

$(VENV)/.installed: WHAT = .
$(VENV)/.installed-dev: WHAT = '.[dev]' --no-compile # of 16,000 modules Python compiles those that are used
$(VENV)/.installed $(VENV)/.installed-dev: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mixer-bench needs Python 3.11 or newer; name one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable $(WHAT)
	touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
