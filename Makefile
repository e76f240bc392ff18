# make run                           sets up .venv once, then trains, samples and scores on digits
# make run ARGS="sde=ve sampler=ode" passes overrides on
# make test                          the same environment, ruff and the whole test suite but for the slow laws; PART=2/6 for
#                                    the second sixth of these too
# make docs                          docs/_build/html, where a warning is an error
# make test-slow                     the laws that take minutes; PART=2/6 for the second sixth of them
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?= sde=vp sampler=pc
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

.PHONY: run test test-slow docs

run: $(READY)
	$(BIN)/python run.py $(ARGS)

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYTEST) $(if $(PART),-m 'not gpu' --slow-part $(PART))

test-slow: $(READY)
	$(PYTEST) -m 'slow and not gpu' $(if $(PART),--slow-part $(PART))

docs: $(READY)
	$(BIN)/python docs/make.py site

# Installs again only when what is to be installed changes; the mark is written last, so a broken install is not taken for a whole one.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else f"error: scoresde needs Python 3.11, 3.12 or 3.13, and {sys.executable} is {v[0]}.{v[1]}: say make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@
