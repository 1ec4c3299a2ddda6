# make book      environment, executed notebooks, site
# make test      environment, all tests
# make fast      the tests of a few seconds each
# make oldest    the library's own tests with the oldest versions that pyproject.toml allows; make newest: with the newest
# make zip       the site in one file, to be read without a network
# make pdf       every page of the site as a PDF (needs a chromium)
# make student   the notebooks without solutions, in _build/student
# make sliders   the data of the figures with sliders
# make figures   execute the notebooks in place, and put their figures on record (NOTEBOOKS=book/03_spikes.ipynb: one)
PYTHON ?= python3.11
BIN    := .venv/bin
READY  := .venv/.ready
NOTEBOOKS := $(wildcard book/*.ipynb)

export JAX_PLATFORMS := cpu
export JAX_ENABLE_X64 := 1
export OPENBLAS_NUM_THREADS := 1
export PYTHONWARNINGS := ignore::DeprecationWarning
# What is compiled is kept: by the tests for the notebooks, by one process for the next, by a first run for later ones.
export JAX_COMPILATION_CACHE_DIR := $(CURDIR)/_build/jax_cache
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS := 0
export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES := -1

.PHONY: book test fast oldest newest lint zip pdf student sliders figures notebooks clean
.DEFAULT_GOAL := book

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,cluster]'
	@touch $@

book: $(READY)
	$(BIN)/python -m tools.execute_book _build/.jupyter_cache
	$(BIN)/jupyter-book build . --all -W --keep-going
	$(BIN)/python -m tools.check_site _build/html

# Most of the time of the tests is compilation: the library's own programs have this flag anyway (dmftlib/_compile.py).
test fast: export XLA_FLAGS := --xla_cpu_use_fusion_emitters=false
test: $(READY) lint
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/python -m pytest -n 2 tests dmftlib --doctest-modules -m "not slow" --cov
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/python -m pytest -n 2 tests -m slow --durations=25
	$(BIN)/python -m pytest -p tools.kept_outputs --nbval --nbval-cell-timeout=120 -n 2 --dist loadfile book

fast: $(READY)
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests dmftlib --doctest-modules -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tools.check_style
	$(BIN)/basedpyright --pythonpath $(BIN)/python

# The library alone, in an environment of its own, that is made anew each time.
CORE := $(addprefix tests/library/test_,activations.py bulk.py population.py gaussian.py outliers.py deep_linear.py \
          nonlinear.py wide_output.py ntk.py critical.py compare.py simulate.py empirical.py sweep.py storage.py bad_input.py)
oldest: PINS = sed -n '/^dependencies/,/^]/s/.*"\(.*\)>=\(.*\)",/\1==\2/p' pyproject.toml
newest: PINS = true
oldest newest:
	$(PYTHON) -m venv --clear .venv-$@
	$(PINS) > .venv-$@/pins.txt && cat .venv-$@/pins.txt
	.venv-$@/bin/python -m pip install --quiet --constraint .venv-$@/pins.txt . pytest pytest-xdist hypothesis sympy beartype
	.venv-$@/bin/python -m pip list
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 .venv-$@/bin/python -m pytest -n 2 $(CORE) -m "not slow" -o filterwarnings=default

zip: $(READY)
	test -f _build/html/index.html || { echo "no site: make book"; exit 1; }
	cd _build && ../$(BIN)/python -m zipfile -c spectral-dynamics.zip html && echo _build/spectral-dynamics.zip

pdf: $(READY)
	$(BIN)/python -m tools.make_pdf _build/html _build/pdf

student: $(READY)
	$(BIN)/python -m tools.student_edition _build/student

sliders: $(READY)
	$(BIN)/python -m tools.sliders

# The outputs and figures committed are those of the code committed. `make test` compares both with a fresh run, in which
# book/conftest.py puts book/figure_check.py in the place of matplotlib's inline backend.
figures notebooks: export MPLBACKEND = module://figure_check
figures notebooks: export FIGURES = store
figures notebooks: $(READY)
	cd book && for n in $(notdir $(NOTEBOOKS)); do echo $$n; ../$(BIN)/jupyter execute --inplace $$n || exit 1; done
	$(BIN)/python -m tools.without_times $(NOTEBOOKS)

clean:
	rm -rf _build
