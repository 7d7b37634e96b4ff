# Two commands do everything on a fresh machine: `make demo` and `make test`. Both install what they need into .venv.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# `make demo DATA=path.csv` trains on any file of labelled texts (docs/data.md); DEMO_ARGS goes to the demo as it is.
DATA      ?=
DEMO_ARGS ?=
TEST_ARGS ?=
# MVN_ARGS=-o works without a network once the first run has fetched everything.
MVN_ARGS  ?=

# Of each TOOL=PACKAGE whose tool is missing, and of no other, Debian's or Ubuntu's package is installed: a Node or a JDK
# from elsewhere stays as it is (Debian's npm, for one, conflicts with other Nodes). Only root can install.
define install_tools
missing=; for pair in $(1); do \
  tool=$${pair%%=*}; package=$${pair#*=}; \
  command -v $$tool >/dev/null || test -e $$tool || case "$$missing " in *" $$package "*) ;; *) missing="$$missing $$package" ;; esac; \
done; \
if [ -z "$$missing" ]; then exit 0; fi; \
if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then echo "missing; run as root: apt-get install$$missing" >&2; exit 1; fi; \
echo "installing$$missing ..."; \
apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing >/dev/null
endef

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test test-all check format fuzz bench operating notebook api arm64 arm64-tools wheel sdist results reference proto vectors swift-tools swift-test kotlin-test broker-tools browser-tools page-pictures android android-tools android-check android-library android-library-test android-runtime-test clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed ## install the product into .venv (about 2 minutes: torch is large)
setup-dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Python 3.11 to 3.13 is needed, {sys.executable} is {v[0]}.{v[1]}; say make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml $(VENV)/bin/python
	@echo "installing into $(VENV) (once; torch alone is several GB) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[export,edge,edge-source,gateway,demo]'
	$(BIN)/python -m edge_runtime.native.build
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[export,edge,edge-source,gateway,privacy,demo,dev]'
	@touch $@

demo: setup ## the whole loop on this machine: export, gateway, twelve devices, rounds, figures; DEMO_ARGS=--serve leaves its page up
	$(BIN)/python -m benchmarks.demo $(if $(DATA),--data '$(DATA)') $(DEMO_ARGS)

# Two workers keep two cores busy; WORKERS=0 runs all in one process. Combinations that hold nothing new are for test-all.
WORKERS ?= 2
PYTEST  := $(BIN)/python -m pytest $(if $(filter-out 0,$(WORKERS)),-n $(WORKERS))
test: setup-dev ## the test suite
	$(PYTEST) -m 'not matrix' $(TEST_ARGS)

test-all: setup-dev ## the test suite with every combination
	$(PYTEST) $(TEST_ARGS)

check: setup-dev ## lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# FUZZ_ARGS='--seconds 3600 --target Delta'; python -m tests.fuzz --help has them all.
FUZZ_ARGS ?=
fuzz: $(VENV)/.installed-fuzz ## mutated bytes for every decoder, guided by coverage; goes on where it was
	nice -n 15 $(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

$(VENV)/.installed-fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	@touch $@

bench: setup ## one training step, every way there is
	$(BIN)/python -m benchmarks.train_step

arm64: arm64-tools setup-dev ## exported programs on emulated 64-bit ARM cores: outputs as on x86-64, instructions counted
	$(BIN)/python -m pytest tests/export/proving/test_arm64.py
	$(BIN)/python -m benchmarks.arm64 --check

# Debian's and Ubuntu's packages; then ExecuTorch's wheel for ARM64 and our runner.
ARM64_TOOLS := aarch64-linux-gnu-g++=g++-aarch64-linux-gnu /usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1=libc6-dev-arm64-cross qemu-aarch64=qemu-user
arm64-tools: setup
	@$(call install_tools,$(ARM64_TOOLS))
	$(BIN)/python -m benchmarks.arm64 --prepare
	@! grep -qs '^ID=debian' /etc/os-release || $(BIN)/python -m benchmarks.arm64.debian_python

# WHEEL_ARGS='--machine aarch64' builds one of them; on ARM64 there is the one of this machine only.
WHEEL_ARGS ?=
wheel: setup-dev ## wheels for boards with all that is compiled in them, x86-64 and ARM64: dist/*.whl
	@test "$$(uname -m)" != x86_64 || { $(call install_tools,$(filter-out qemu-aarch64=%,$(ARM64_TOOLS))); }
	$(BIN)/python packaging/board_wheel.py $(WHEEL_ARGS)

sdist: setup-dev ## all that git tracks as dist/*.tar.gz, from which the rest can be built
	$(BIN)/python -m build --sdist --outdir dist .

# OPERATING_ARGS='--package packages/pixel8 --data texts.csv'; --bare installs the gateway anew as well.
OPERATING_ARGS ?= --help
operating: setup ## docs/operating.md, followed line by line with real processes
	$(BIN)/python -m benchmarks.operating $(OPERATING_ARGS)

notebook: setup ## run examples/two_devices.ipynb with MiniLM and write its outputs
	$(BIN)/python -m docs.notebook

results: setup ## write docs/results.md and docs/reliability.md from benchmarks/results/*.jsonl
	$(BIN)/python -m benchmarks.results

reference: setup ## write docs/reference.md: every setting, device profiles, what is in a package
	$(BIN)/python -m docs.reference

api: setup ## write docs/api.md from the docstrings of the public names
	$(BIN)/python -m docs.api

proto: setup-dev ## generate Python's and Swift's messages from edge_runtime/wire/wire.proto
	cd edge_runtime/wire && $(abspath $(BIN))/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. wire.proto
	$(BIN)/python -m ios.tools.messages

vectors: setup-dev ## write the shared test vectors
	$(BIN)/python -m edge_runtime.wire.vectors.generate

# Debian 13's toolchain in the per-user cache, with a root of its own; nothing where `swift` is on the path.
swift-tools: setup-dev ## a Swift toolchain, on Debian: 555 MB of packages, 2.5 GB unpacked
	$(BIN)/python -m ios.tools.toolchain

swift-test: setup-dev ## the Swift side: build, and test against the vectors and the Python one; skipped where no Swift is
	$(BIN)/python -m ios.tools.test

kotlin-test: setup-dev ## the Kotlin side: build, and test against the Python one (a JDK from 17 on and Maven are needed)
	@command -v mvn >/dev/null && command -v javac >/dev/null || { echo "make kotlin-test needs Maven and a JDK from 17 on; on Debian: apt install maven openjdk-17-jdk-headless" >&2; exit 1; }
	@version=$$(javac -version 2>&1 | sed -E 's/javac ([0-9]+).*/\1/'); test "$$version" -ge 17 || { echo "make kotlin-test needs a JDK from 17 on, javac is $$version; on Debian: apt install openjdk-17-jdk-headless" >&2; exit 1; }
	@command -v aapt2 >/dev/null || echo "the app is left out: aapt2 is missing; on Debian: apt install aapt" >&2
	cd android_demo && mvn --batch-mode --no-transfer-progress -q verify -Dpython=$(abspath $(BIN))/python $$(command -v aapt2 | sed s/^/-Daapt2=/) $(MVN_ARGS)

# wire, core, engine, background (as an AAR, too) and desktop, with sources and KDoc. The folder appears when it is whole.
# Maven does not deploy with MVN_ARGS=-o, to a folder neither.
LIBRARY := $(CURDIR)/android_demo/build/maven
android-library: ## what apps depend on, as a Maven repository: android_demo/build/maven
	@$(call install_tools,mvn=maven java=openjdk-17-jdk-headless javac=openjdk-17-jdk-headless)
	rm -rf '$(LIBRARY).new'
	cd android_demo && mvn --batch-mode --no-transfer-progress -q -Plibrary -Dmaven.test.skip=true -DaltDeploymentRepository='library::file://$(LIBRARY).new' -pl wire,core,engine,background,desktop -am deploy $(MVN_ARGS)
	rm -rf '$(LIBRARY)'
	mv '$(LIBRARY).new' '$(LIBRARY)'

android-library-test: setup-dev android-library ## that repository's artifacts, and a small project over them that learns on this machine's Java
	$(BIN)/python -m pytest tests/android/test_library.py

# ET_RUNTIME=none leaves ExecuTorch out, ET_AAR=FILE takes it from an official AAR; PACKAGE=DIR puts a package into the
# APK; KEYSTORE=FILE with KEY_ALIAS=NAME and KEYSTORE_PASSWORD in the environment signs with your key.
ET_RUNTIME ?= npm
ET_AAR     ?=
PACKAGE    ?=
KEYSTORE   ?=
KEY_ALIAS  ?=
APK_ARGS   := $(if $(filter none,$(ET_RUNTIME)),--no-runtime) $(if $(ET_AAR),--aar '$(ET_AAR)') $(if $(PACKAGE),--package '$(PACKAGE)') \
  $(if $(KEYSTORE),--keystore '$(KEYSTORE)') $(if $(KEY_ALIAS),--alias '$(KEY_ALIAS)')

android: setup android-tools ## the app's APK, signed: android_demo/build/edge-experts.apk
	$(BIN)/python -m android_demo.apk $(APK_ARGS)

android-check: setup android-tools ## verify that APK: signature, manifest, alignment, a second build with the same bytes
	$(BIN)/python -m android_demo.apk --check $(APK_ARGS)

android-runtime-test: setup-dev ## exported programs on Android's own ExecuTorch, on this machine's Java
	$(BIN)/python -m pytest tests/export/proving/test_android_runtime.py

# The package starts a broker of its own; nobody asked for that one, so it does not start.
broker-tools: ## install Mosquitto, for broker_server run --broker mosquitto and its tests
	@$(call install_tools,/usr/sbin/mosquitto=mosquitto)
	@if [ -d /run/systemd/system ] && [ "$$(id -u)" = 0 ]; then systemctl disable --quiet --now mosquitto || true; fi

# Debian's headless Chromium, for the tests and the pictures of the gateway's page; any other Chromium will do.
browser-tools: ## install a headless Chromium, for the tests of the gateway's page
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { $(call install_tools,chromium-headless-shell=chromium-headless-shell); }

page-pictures: setup-dev browser-tools ## take the pictures in docs/img/page: the demo's federation, its page in Chromium
	$(BIN)/python -m benchmarks.demo.pictures

ANDROID_TOOLS := aapt2=aapt apksigner=apksigner mvn=maven npm=npm java=openjdk-17-jdk-headless javac=openjdk-17-jdk-headless keytool=openjdk-17-jdk-headless
android-tools:
	@$(call install_tools,$(ANDROID_TOOLS))

clean: ## remove what was built here (not .venv)
	rm -rf android_demo/build
	rm -rf android_demo/*/target
	rm -rf ios/.build ios/engine/.build
	rm -rf packages runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
