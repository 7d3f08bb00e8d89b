# make up    the shop runs, on the embedded stack (ARGS="--for 60 --speed 50 --json" and the like)
# make test  everything that decides correctness
# make test-compose  the whole stack in containers; COMPOSE_STANDINS=1 builds what cannot be pulled
# make test-long  also: whole running shops, three brokers of Apache Kafka, long outages, dbt
# make site  the documentation as a site, in build/site
# make dbt   install dbt into an environment of its own, for deploy/dbt
# make PYTHON=/path/to/python up  with a Python that is not on the PATH
VENV := .venv
BIN := $(VENV)/bin
# What the shop needs to run, and what its development needs in addition.
RUN := $(VENV)/.run
DEV := $(VENV)/.dev
DBT := $(VENV)/dbt/.installed
PIP := $(BIN)/python deploy/install/packages.py

.PHONY: up servers test test-long test-compose lint check site install dbt clean

up: $(RUN)
	@$(BIN)/jangteo up $(ARGS)

# Fetches Apache Kafka once and trains it to start quickly, as `jangteo up` does; where it cannot be
# fetched, this is printed and what follows works without it.
servers: $(RUN)
	@$(BIN)/jangteo servers prepare || [ $$? -ne 130 ]

# Rewriting asserts is half of what pytest computes before the first test: keep the result as bytecode.
unexport PYTHONDONTWRITEBYTECODE

# The tests wait for servers more than they compute: four at once on two cores. Each worker has
# its own servers, and takes whole files in the order of tests/conftest.py.
FILES := --dist loadfile --no-loadscope-reorder

test: $(DEV) servers
	$(BIN)/python -m pytest -n 4 $(FILES) -m "not slow and not kafka and not compose" $(ARGS)

test-long: $(DEV) servers $(DBT)
	$(BIN)/python -m pytest -n 3 $(FILES) -m "(slow or kafka) and not compose" $(ARGS)

test-compose: $(DEV)
	$(BIN)/python -m pytest -m compose tests/compose $(ARGS)

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation as a site in build/site, without the network.
site: $(DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

check: lint test

install: $(DEV)

dbt: $(DBT)

$(BIN)/python:
	@sh deploy/install/environment.sh $(VENV) $(PYTHON)

$(RUN): pyproject.toml constraints.txt | $(BIN)/python
	@$(PIP) "installing into $(VENV)" -c constraints.txt -e '.[embedded,serve]'
	@touch $(RUN)

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	@$(PIP) "installing into $(VENV) for development" -c constraints.txt -e '.[embedded,serve,bench,dev,docs]'
	@touch $(RUN) $(DEV)

# Its packages and those of the tests cannot be installed together: deploy/dbt/requirements.txt.
$(DBT): deploy/dbt/requirements.txt | $(BIN)/python
	@$(BIN)/python -m venv $(VENV)/dbt
	@$(VENV)/dbt/bin/python deploy/install/packages.py "installing dbt into $(VENV)/dbt" -r $<
	@touch $(DBT)

clean:
	rm -rf $(VENV) $(VENV)-uv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
