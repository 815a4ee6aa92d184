# Everything a user runs. `make` alone lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help up preflight plan settings inventory secret status verify security renew_tls logs down reset drill test test-quick test-unit mutate bench bench-deploy lint docs format tools dev

PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

# As in inventories/local.
STATE_DIR := $(or $(XDG_STATE_HOME),$(HOME)/.local/state)/cachestack

# make up MODE=sentinel CLIENT=django_redis INVENTORY=inventories/replication ARGS=--check
WORDS = $(if $(MODE),-e cache_mode=$(MODE)) $(if $(CLIENT),-e cache_client=$(CLIENT))
DRILL_MODE = $(or $(MODE),sentinel)
# What the last `make up` was told, for the targets that look at what it made.
CHOICE := $(STATE_DIR)/choice
CHOSEN = $(if $(INVENTORY),-i $(INVENTORY)) $(if $(INVENTORY)$(strip $(WORDS)),$(WORDS),$(shell cat $(CHOICE) 2>/dev/null))
PLAYBOOK = ansible-playbook $(CHOSEN) $(ARGS)
ASKED = $(if $(INVENTORY),-i $(INVENTORY)) $(WORDS) $(ARGS)

# What was given on the command line, each in quotes; the command itself says what it does not know.
GIVEN = $(foreach word,$(filter-out PYTHON,$(.VARIABLES)),$(if $(filter command,$(origin $(word))),'$(word)=$(subst ','\'',$($(word)))'))

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z_-]*:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'make test-<name>      Run one Molecule scenario, such as test-replication'

up: tools ## Deploy the inventory (default: this machine, without root or Docker)
	ansible-playbook $(if $(INVENTORY),-i $(INVENTORY)) $(WORDS) $(ARGS) site.yml
	@$(if $(INVENTORY)$(findstring --check,$(ARGS)),,echo '$(strip $(WORDS))' > $(CHOICE))

preflight: tools ## Check the inventory without contacting a host (ARGS=--json for programs)
	@python ansible/ask.py preflight $(ASKED)

settings: tools ## Print the CACHES that the inventory would render, for a settings.py of your own
	@python ansible/ask.py settings $(ASKED)

inventory: tools ## Write an inventory of your own: NAME=prod MODE=sentinel REDIS="10.0.0.1 10.0.0.2 10.0.0.3" APP=10.0.0.9
	@PYTHONPATH=django_app python -m inventories.create $(GIVEN)

plan: tools ## Say what a deployment would do to each host, and what that would cost
	@python ansible/ask.py plan $(ASKED)

secret: tools ## Print a new password
	@python -c 'import secrets; print(secrets.token_urlsafe(48))'

status: tools ## Say what runs, who leads, and whether Django's caches answer
	@$(PLAYBOOK) ansible/status.yml

verify: tools ## Prove the deployment with Django's own cache operations
	$(PLAYBOOK) ansible/verify.yml

security: tools ## Look for what the deployment gives away: ports, users, files, secrets in them
	$(PLAYBOOK) ansible/security.yml

renew_tls: tools ## Replace the certificates, without a restart of Redis
	$(PLAYBOOK) ansible/renew_tls.yml

logs: ## Print the last lines of the local services' logs (FOLLOW=1 goes on)
	@compgen -G '$(STATE_DIR)/services/logs/*.log' >/dev/null || { echo 'No service has a log here yet: make up'; exit 1; }
	@tail -n 20 $(if $(FOLLOW),-F) $(STATE_DIR)/services/logs/*.log

down: tools ## Stop the local services; the data stays
	$(PLAYBOOK) ansible/down.yml

reset: tools ## Stop the local services and delete their state, data included; asks first
	@read -r -p 'Delete $(STATE_DIR) with all its data? Type yes: ' answer && [ "$$answer" = yes ] || { echo 'Nothing was changed.'; exit 1; }
	$(PLAYBOOK) ansible/reset.yml

drill: tools ## Kill the leader under load and measure what Django saw (MODE=sentinel or cluster; FAULTS=all for every fault)
	@grep -qs 'cache_mode=$(DRILL_MODE)' $(CHOICE) || $(MAKE) --no-print-directory up MODE=$(DRILL_MODE)
	@mkdir -p .cache/drill
	@$(MAKE) --no-print-directory break-it

# Apart, since only now it is known what runs.
break-it:
	ansible-playbook $(CHOSEN) ansible/drill.yml
	python -m drill.run --deployment=.cache/drill/deployment.json --report=.cache/drill \
		--site='ansible-playbook $(CHOSEN) site.yml' $(if $(FAULTS),--faults $(FAULTS))

test: dev ## Run everything: the linters, the unit tests and every Molecule scenario
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint test-unit
	python molecule/run.py

test-quick: dev ## Run the linters, the quick unit tests, and two scenarios without faults
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint test-unit SELECT='-m "not slow"'
	python molecule/run.py --quick standalone sentinel

test-unit: dev ## Run the unit tests, which need no Docker (SELECT='-m "not slow"' leaves out the slow ones)
	pytest --numprocesses=5 --dist=worksteal $(SELECT)

test-%: dev
	python molecule/run.py $*

mutate: dev ## Break the project on purpose in copies, and tell which careless changes no test notices (NAMES="...")
	python -m mutate.run $(NAMES)

bench-deploy: tools ## Measure what a deployment costs: from nothing, with nothing to do, make plan, make status
	@python -m bench.deploy $(ARGS)

bench: dev ## Measure the cache clients against each other
	PYTHONPATH=django_app:tests python -m bench.run $(ARGS)

docs: dev ## Write the pages that are made of the code: variables, rules, faults
	PYTHONPATH=django_app python -m docs.generate

lint: dev ## Run the linters and the type checker
	ruff check
	ruff format --check
	mypy
	yamllint --strict .
	ansible-lint --offline

format: dev ## Format the Python code
	ruff check --fix
	ruff format

tools: $(BIN)/.tools ## Create the tool environment .venv, which every other target does as well
dev: $(BIN)/.dev

$(BIN)/.tools: requirements.txt
	@./bootstrap.sh $(PYTHON) $<
	@touch $@

$(BIN)/.dev: requirements-dev.txt requirements.txt
	@./bootstrap.sh $(PYTHON) $<
	@touch $@ $(BIN)/.tools
