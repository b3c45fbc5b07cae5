# make demo | test | lint: each sets up .venv by itself; make install: the daemon as a service
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# A directory for the relay alone: it becomes a venv, and uninstall removes it whole.
PREFIX ?= /opt/astropix-relay
CONFIG := $(DESTDIR)/etc/astropix-relay
UNIT   := $(DESTDIR)/usr/local/lib/systemd/system/astropix-relay@.service
FOLLOW := $(DESTDIR)/usr/local/lib/systemd/system/astropix-follow@.service
SYSCTL := $(DESTDIR)/usr/local/lib/sysctl.d/90-astropix-relay.conf

# Only the running system's systemd is to notice, not the builder's of a package.
ifeq ($(DESTDIR)$(wildcard /run/systemd/system),/run/systemd/system)
RELOAD = systemctl daemon-reload && systemctl restart systemd-sysctl
STOP   = systemctl stop 'astropix-relay@*' 'astropix-follow@*'
endif

.PHONY: demo demo-cluster test unit coverage bench docs faults faults-mutants soak commands conformance screenshots lint format clean \
    install install-bridge uninstall
.DEFAULT_GOAL := help

help:
	@echo 'make demo   simulator, relay and subscriber on the loopback interface, until Ctrl-C'
	@echo 'make demo-cluster   the same into a log of three NATS nodes, and a page that reads it; a key kills a node'
	@echo 'make test   every test (those of networks need root and iproute2, those of the page chromium; skipped without)'
	@echo 'make unit   the fast tests only'
	@echo 'make coverage   each file of the pure core by its own unit tests; fails below 95 % (WORDS="wire relay")'
	@echo 'make faults    break things, compare what was injected with what was counted (root; QUICK=1 is shorter)'
	@echo 'make faults-mutants    break a line of the code for each row of make faults, and expect red'
	@echo 'make soak      the same at random, for MINUTES=1, from SEED=1'
	@echo 'make bench  measure, print the table, write docs/performance.md (RELAY_REFERENCE: a relay in C)'
	@echo 'make screenshots   the pictures of the live page in docs/images'
	@echo 'make docs   the site, in docs/_build/html'
	@echo 'make conformance   conformance/*.jsonl, from tests/conformance'
	@echo 'make commands   docs/commands.md, from the help texts'
	@echo 'make lint   ruff, mypy, the rules of what imports what, the workflows; make format mends what can be'
	@echo 'sudo make install | uninstall   the service astropix-relay@ in $(PREFIX) (PREFIX, DESTDIR, PYTHON)'

# The group of development tools is read from pyproject.toml, so that it stands in one place.
$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

demo: $(VENV)/ready
	$(BIN)/apx demo

demo-cluster: $(VENV)/ready
	PYTHONPATH=tests $(BIN)/python -m demo_cluster

# Most tests wait more than they work, so that two go side by side; those that fill the machine follow alone.
test: $(VENV)/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not alone' --cov --cov-report=; beside=$$?; \
	$(BIN)/python -m pytest -m alone --cov --cov-append && exit $$beside

# Each file of the pure core by its own unit tests alone; WORDS: the files whose path holds one of them.
coverage: $(VENV)/ready
	$(BIN)/python tests/coverage_by_file.py $(WORDS)

screenshots: $(VENV)/ready
	SCREENSHOTS=1 $(BIN)/python -m pytest tests/browser/test_pictures.py

unit: $(VENV)/ready
	$(BIN)/python -m pytest -n auto tests/unit

# Side by side on this machine's namespaces; nothing leaves them. ONLY=words: the rows whose name holds them.
MATRIX = PYTHONPATH=tests $(BIN)/python -m matrix
MINUTES ?= 1
SEED ?= 1

faults: $(VENV)/ready
	$(MATRIX) --write --seed $(SEED) $(if $(QUICK),--quick) $(if $(ONLY),--only '$(ONLY)')

faults-mutants: $(VENV)/ready
	$(MATRIX) --broken --seed $(SEED) $(if $(ONLY),--only '$(ONLY)')

soak: $(VENV)/ready
	$(MATRIX).soak --minutes $(MINUTES) --seed $(SEED)

# conformance/*.jsonl: frames and sessions for clients in other languages
conformance: $(VENV)/ready
	PYTHONPATH=tests $(BIN)/python -m conformance

# docs/commands.md, from the help texts
commands: $(VENV)/ready
	$(BIN)/python tests/unit/test_commands_document.py

# The site, in docs/_build/html; a warning is an error.
docs: $(VENV)/ready
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

bench: $(VENV)/ready
	PYTHONPATH=tests $(BIN)/python -m bench.run

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# umask: the service runs under a user of its own, which must be able to read all this.
# sed: a venv's scripts name the place where it was made.
install:
	test ! -e $(DESTDIR)$(PREFIX) || test -e $(DESTDIR)$(PREFIX)/pyvenv.cfg
	umask 022 && $(PYTHON) -m venv $(DESTDIR)$(PREFIX)
	# 0.1 was a distribution of another name, which pip would keep; its files have names of ours
	$(DESTDIR)$(PREFIX)/bin/python -m pip --quiet uninstall --yes astropix-relay 2>/dev/null
	umask 022 && $(DESTDIR)$(PREFIX)/bin/python -m pip install --quiet .
	cd $(DESTDIR)$(PREFIX) && sed -i 's|$(DESTDIR)$(PREFIX)|$(PREFIX)|g' pyvenv.cfg $$(grep -lI . bin/*)
	install -d $(CONFIG) $(dir $(UNIT)) $(dir $(SYSCTL))
	test -e $(CONFIG)/relay.yaml || install -m 644 config/relay.yaml $(CONFIG)
	sed 's|/opt/astropix-relay/|$(PREFIX)/|' 'config/astropix-relay@.service' | install -m 644 /dev/stdin '$(UNIT)'
	sed 's|/opt/astropix-relay/|$(PREFIX)/|' 'config/astropix-follow@.service' | install -m 644 /dev/stdin '$(FOLLOW)'
	install -m 644 config/90-astropix-relay.conf $(SYSCTL)
	$(RELOAD)

# Beside the relay or without it: the bridge into a NATS log, in the same venv.
BRIDGE_CONFIG := $(DESTDIR)/etc/astropix-bridge
BRIDGE_UNIT   := $(DESTDIR)/usr/local/lib/systemd/system/astropix-bridge@.service

install-bridge:
	test ! -e $(DESTDIR)$(PREFIX) || test -e $(DESTDIR)$(PREFIX)/pyvenv.cfg
	umask 022 && $(PYTHON) -m venv $(DESTDIR)$(PREFIX)
	umask 022 && $(DESTDIR)$(PREFIX)/bin/python -m pip install --quiet '.[nats]'
	cd $(DESTDIR)$(PREFIX) && sed -i 's|$(DESTDIR)$(PREFIX)|$(PREFIX)|g' pyvenv.cfg $$(grep -lI . bin/*)
	install -d $(BRIDGE_CONFIG) $(dir $(BRIDGE_UNIT))
	test -e $(BRIDGE_CONFIG)/bridge.yaml || install -m 644 config/bridge.yaml $(BRIDGE_CONFIG)
	sed 's|/opt/astropix-relay/|$(PREFIX)/|' 'config/astropix-bridge@.service' | install -m 644 /dev/stdin '$(BRIDGE_UNIT)'
	$(RELOAD)

# What the operator wrote stays: the configuration, drop-ins, keys.
uninstall:
	test ! -e $(DESTDIR)$(PREFIX) || test -e $(DESTDIR)$(PREFIX)/pyvenv.cfg
	$(STOP)
	rm -rf $(DESTDIR)$(PREFIX)
	rm -f '$(UNIT)' '$(FOLLOW)' '$(BRIDGE_UNIT)' $(SYSCTL) $(DESTDIR)/etc/systemd/system/*.wants/astropix-relay@*.service \
	    $(DESTDIR)/etc/systemd/system/*.wants/astropix-follow@*.service
	$(RELOAD)

clean:
	rm -rf $(VENV) dist build
