# make demo | test | lint: each sets up .venv by itself; make install: the daemon as a service
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# A directory for the relay alone: it holds the versions, and uninstall removes it whole.
PREFIX ?= /opt/astropix-relay
INSTALL = PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' PYTHON='$(PYTHON)' packaging/install.sh

.PHONY: demo demo-cluster test unit coverage bench docs faults faults-mutants soak alerts alerts-soak fuzz commands conformance screenshots lint format \
    clean \
    install install-bridge rollback uninstall wheelhouse deb
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
	@echo 'make alerts    the alert rules over each row of make faults (promtool; ONLY=words)'
	@echo 'make alerts-soak    the alert rules over MINUTES=1 of ordinary operation: none may fire'
	@echo 'make fuzz      bytes that nobody should send, for MINUTES=1, from SEED=1'
	@echo 'make bench  measure, print the table, write docs/performance.md (RELAY_REFERENCE: a relay in C)'
	@echo 'make screenshots   the pictures of the live page in docs/images'
	@echo 'make docs   the site, in docs/_build/html'
	@echo 'make conformance   conformance/*.jsonl, from tests/conformance'
	@echo 'make commands   docs/commands.md, from the help texts'
	@echo 'make lint   ruff, mypy, the rules of what imports what, the workflows; make format mends what can be'
	@echo 'make wheelhouse   a tarball in dist/ that installs the relay without a network (PYTHONS="3.11 3.13")'
	@echo 'make deb    the same as a Debian package'
	@echo 'sudo make install | rollback | uninstall   the service astropix-relay@ in $(PREFIX)'
	@echo '    (PREFIX, DESTDIR, PYTHON, EXTRAS="nats monitor"; rollback: TO=0.2.0-1)'

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

# Most tests wait more than they work, so that three go side by side; those that fill the machine follow alone.
test: $(VENV)/ready
	$(BIN)/python -m pytest -n 3 --dist loadfile -m 'not alone'; beside=$$?; \
	$(BIN)/python -m pytest -m alone && exit $$beside

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

# The alert rules of config/prometheus: over each row of the matrix, and over an ordinary time, in which none may fire
alerts: $(VENV)/ready
	$(MATRIX).alerts $(if $(ONLY),--only '$(ONLY)')

alerts-soak: $(VENV)/ready
	$(MATRIX).alerts --soak $(MINUTES) --seed $(SEED)

# Bytes that nobody should send; what a seed finds, it finds again. ONLY=words: the targets whose name holds them.
fuzz: $(VENV)/ready
	PYTHONPATH=tests $(BIN)/python -m fuzz --minutes $(MINUTES) --seed $(SEED) $(if $(ONLY),--only '$(ONLY)')

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

install:
	EXTRAS='$(EXTRAS)' $(INSTALL) install

# Beside the relay: the bridge into a NATS log, in the same environment.
install-bridge:
	EXTRAS='nats $(EXTRAS)' $(INSTALL) install

rollback:
	TO='$(TO)' $(INSTALL) rollback

uninstall:
	$(INSTALL) uninstall

# Without a network on the target: wheels of ours and of what we need, for these Pythons and this kind of machine.
wheelhouse deb:
	PYTHON='$(PYTHON)' PYTHONS='$(PYTHONS)' packaging/build.sh $@

clean:
	rm -rf $(VENV) dist build
