# The common tasks. Everything else is ordinary CMake: see README.md and HACKING.md.
MODEL ?= models/phantom-nano
export REVENANT_PICTURE ?= $(firstword $(sort $(wildcard $(MODEL)/examples/*.png $(MODEL)/examples/*.jpg)))
export REVENANT_QUESTION ?= What is in this picture?

# All cores, but a file that includes libtorch takes about 3 GB to compile.
cores := $(shell nproc)
memory_jobs := $(shell awk '/MemAvailable/ {print int($$2 / 3000000) + 1}' /proc/meminfo)
test_jobs := $(shell j=$(memory_jobs); [ $$j -lt $(cores) ] && echo $$j || echo $(cores))

.PHONY: help run test bench bench-peers format lint
help:
	@echo "make run     build the program (no libtorch) and ask the shipped model about a picture"
	@echo "             REVENANT_PICTURE=FILE REVENANT_QUESTION=TEXT ask something else"
	@echo "make test    build everything, libtorch included, and run all tests"
	@echo "make bench   measure the hot loops on this machine"
	@echo "make bench-peers   measure beside llama.cpp, torch, onnxruntime and OpenVINO, which it installs (hours; nothing else may run)"
	@echo "             PEERS=\"--rows tower,question\" only some of it, PEERS=--list what there is (bench/peers.py --help)"
	@echo "make format  format all sources in place"
	@echo "make lint    check the format and run clang-tidy"

run:
	@tools/install.sh run
	@cmake --preset notorch
	@cmake --build --preset notorch --target revenant -j $(cores)
	@echo "\$$ build/notorch/bin/revenant run -m $(MODEL) --image $$REVENANT_PICTURE -p \"$$REVENANT_QUESTION\""
	@build/notorch/bin/revenant run -m $(MODEL) --image "$$REVENANT_PICTURE" -p "$$REVENANT_QUESTION"

test:
	@tools/install.sh test
	@cmake --preset release $(CONFIGURE)
	@cmake --build --preset release -j $(test_jobs)
	@ctest --preset release -j $(cores)

benches := $(patsubst bench/%_bench.cc,bench_%,$(wildcard bench/*_bench.cc))
bench:
	@tools/install.sh run
	@cmake --preset notorch
	@cmake --build --preset notorch --target $(benches) -j $(cores)
	@set -e; for program in $(benches); do echo "== $$program"; build/notorch/bin/$$program; done

bench-peers:
	@tools/install.sh peers
	@cmake --preset notorch
	@cmake --build --preset notorch --target revenant -j $(cores)
	@REVENANT_BIN=$(CURDIR)/build/notorch/bin python3 bench/peers.py $(PEERS)

format:
	@tools/install.sh lint
	@tools/format.sh

lint:
	@tools/install.sh lint
	@tools/format.sh --check
	@[ -f build/release/compile_commands.json ] || cmake --preset notorch
	@tools/tidy.sh
