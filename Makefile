# make demo   an environment, the bundled sample, the whole workflow on it
# make test   the tests, real runs included
# `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check --no-input install -q
LOCKED := $(PIP) --no-deps --require-hashes --no-build-isolation
# TORCH=cpu: PyTorch without CUDA, which PyPI has not for Linux
TORCH ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
WITHOUT_CUDA := $(LOCKED) --extra-index-url $(TORCH_INDEX) -r requirements/stacks/torch-cpu.txt
PYTORCH := $(LOCKED) -r requirements/torch-needs.txt && \
    $(if $(filter cpu,$(TORCH)),$(WITHOUT_CUDA) && )$(PIP) -r requirements/torch.txt
CORES ?= all
LOCK := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
    -c requirements/constraints.txt

.PHONY: demo demo-3di demo-extract demo-embed demo-serve demo-train docs slurm onnx facenet train serve protocol test test-containers test-slurm browser readers containers lint format bench lock clean help

demo: .venv/default  ## Run the default chain on the bundled sample and print where the report is
	$(BIN)/snakemake -s rules/bundled_sample.smk --cores 1 --quiet all
	$(BIN)/facemake run --cores $(CORES)
	@echo
	@echo "The report: $(CURDIR)/results/report/index.html"

STANDIN := resources/standin3di
demo-3di: .venv/default  ## The same sample through engine 3di, on a stand-in: its numbers measure nothing
	$(BIN)/snakemake -s rules/bundled_sample.smk --cores 1 --quiet all
	$(BIN)/python tests/standin3di/build.py $(STANDIN)
	$(BIN)/facemake run --cores $(CORES) --config engine=3di outdir=results-3di \
	    'threedi={"runtime": "$(STANDIN)/3DI", "morphable_model": "standin-19830"}'
	@echo
	@echo "Made by a STAND-IN for 3DI, with made up numbers. Yours: threedi.runtime in the config,"
	@echo "BITBOX_3DI, BITBOX_3DI_LITE or BITBOX_DOCKER; containers/3di has the recipe of an image."
	@echo "The report: $(CURDIR)/results-3di/report/index.html; raw files: results-3di/3di/"

# The second one ends in a message where the weights of retinaface are not on this machine.
demo-extract: .venv/default  ## Faces of the bundled sample as picture files
	$(BIN)/snakemake -s rules/bundled_sample.smk --cores 1 --quiet all
	$(BIN)/facemake extract resources/bundled/portraits resources/bundled/moving_portrait.mp4 \
	    --out results-extract/mediapipe --frame-step 5
	@echo
	@echo "The same portraits with retinaface, whose weights no package carries:"
	@$(BIN)/facemake extract resources/bundled/portraits --out results-extract/retinaface \
	    --backend retinaface || test $$? -eq 2
	@echo
	@echo "The crops and their table: $(CURDIR)/results-extract/mediapipe"

# Nothing is downloaded: the second one ends in a message where no pack is on this machine.
demo-embed: .venv/default  ## Who looks like whom in the bundled sample, by identity embeddings
	$(BIN)/snakemake -s rules/bundled_sample.smk --cores 1 --quiet all
	$(BIN)/facemake compare-faces resources/bundled/portraits resources/bundled/moving_portrait.mp4 \
	    --frames 3
	@echo
	@echo "The same with a pack of ArcFace networks, as create_backend() finds it:"
	@HF_HUB_OFFLINE=1 $(BIN)/facemake compare-faces resources/bundled/portraits \
	    resources/bundled/moving_portrait.mp4 --frames 3 --pack || test $$? -eq 2
	@echo
	@echo "docs/packs.md has the folders of a pack and where networks are got."

demo-serve: .venv/serve  ## A service for embeddings, asked over loopback with the bundled portraits
	$(BIN)/snakemake -s rules/bundled_sample.smk --cores 1 --quiet all
	$(BIN)/python -m facemake.embedserver.demo resources/bundled/portraits

# A narrow network, a few epochs, one recording: what it shows is the way, and no quality.
demo-train: .venv/train  ## Both networks trained on the bundled sample, on the CPU: minutes
	$(BIN)/snakemake -s rules/bundled_sample.smk --cores 1 --quiet all
	$(BIN)/facemake run --cores $(CORES) evaluate --config samples=config/demo-train.tsv \
	    outdir=results-train embed=off \
	    'train={"epochs": 6, "width_mult": 0.25, "batch_size": 16, "save_every": 3}'
	$(BIN)/python -m facemake.evaluation.demo results-train

slurm: .venv/slurm  ## Let snakemake send jobs to a SLURM cluster (profiles/slurm)

.venv/slurm: .venv/default requirements/slurm.txt
	$(LOCKED) -r requirements/slurm.txt
	@touch $@

# Each of the Pythons that tests start, and each worker of pytest, would compile everything anew.
test: export PYTHONDONTWRITEBYTECODE :=

test: .venv/dev resources/bundled/moving_portrait.mp4  ## Run all tests, real workflow runs included
	$(BIN)/python -m pytest -n 2 --dist loadgroup

# 77 is a machine that lacks something: what it lacks is skipped, with the reason.
test-containers: .venv/dev resources/bundled/moving_portrait.mp4  ## Tests in a real Apptainer and a real Docker engine (root on Debian)
	$(BIN)/python tests/containers/setup.py || test $$? -eq 77
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m containers --durations=5 \
	    tests/containers; code=$$?; \
	    $(BIN)/python tests/containers/setup.py --stop; exit $$code

browser: .venv/dev  ## Chromium for the tests of the report, in ~/.cache (root on Debian)
	$(BIN)/python tests/report/setup.py || test $$? -eq 77

readers: .venv/dev  ## Other people's readers for the tests of the exports, in ~/.cache
	$(BIN)/python tests/readers/setup.py || test $$? -eq 77

test-slurm: .venv/dev resources/bundled/moving_portrait.mp4  ## Tests on a real SLURM of one node (root on Debian)
	$(BIN)/python tests/slurm/setup.py || test $$? -eq 77
	$(BIN)/python -m pytest -n 0 -m slurm --durations=5 tests/slurm; code=$$?; \
	    $(BIN)/python tests/slurm/setup.py --stop; exit $$code

BASE ?=
WITH ?=
STACKS ?=
containers: .venv/default  ## Build the images of the stacks (BASE=, WITH=, STACKS=: containers/README.md)
	$(BIN)/python containers/build_images.py --python $(PYTHON) $(if $(BASE),--base $(BASE)) \
	    $(if $(WITH),--with $(WITH)) $(STACKS)

lint: .venv/dev resources/bundled/moving_portrait.mp4  ## Style, types, Snakemake's own linter
	$(BIN)/ruff check scripts tests benchmarks containers docs
	$(BIN)/ruff format --check scripts tests benchmarks containers docs
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/hadolint containers/Dockerfile containers/*/Dockerfile*
	$(BIN)/snakemake --lint
	$(BIN)/python tests/standin3di/build.py $(STANDIN)
	$(BIN)/snakemake --lint --config engine=3di 'threedi={"runtime": "$(STANDIN)/3DI"}'

format: .venv/dev  ## Write the code in its one style
	$(BIN)/ruff check --fix scripts tests benchmarks containers docs
	$(BIN)/ruff format scripts tests benchmarks containers docs
	$(BIN)/snakefmt Snakefile rules

docs: .venv/docs  ## The documentation as pages: site/index.html, which needs no network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q
	@echo "The documentation: $(CURDIR)/site/index.html"

bench: .venv/dev resources/bundled/moving_portrait.mp4  ## Measure speed and memory (minutes)
	$(BIN)/python -m benchmarks

resources/bundled/moving_portrait.mp4: .venv/default
	$(BIN)/snakemake -s rules/bundled_sample.smk --cores 1 --quiet all

# The environment is made without pip inside, by the pip that is there already: so a Debian Python
# without ensurepip is enough. setuptools comes first, it builds the two source packages.
.venv/default: requirements/build.txt requirements/default.txt requirements/bundled.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if v in ((3, 11), (3, 12)) else \
	    "facemake needs Python 3.11 or 3.12, this is %d.%d: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv --without-pip .venv
	@echo "The packages are fetched and installed, which takes some minutes:"
	$(LOCKED) -r requirements/build.txt
	$(LOCKED) -r requirements/default.txt
	$(PIP) --no-deps --require-hashes --upgrade --no-compile --target .venv/bundled -r requirements/bundled.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv/docs: .venv/default requirements/docs.txt
	$(LOCKED) -r requirements/docs.txt
	@touch $@

.venv/dev: .venv/default .venv/facenet .venv/docs requirements/dev.txt
	$(LOCKED) -r requirements/dev.txt
	@touch $@

# What a detector needs besides (docs/backends.md).
onnx: .venv/onnx  ## Let detectors scrfd, yolov8-face, ultralight, retinaface and landmarks pfld68 run
train: .venv/train  ## Let the networks be trained (installs PyTorch)
facenet: .venv/facenet  ## Let detector mtcnn and embedders facenet, dinov3 run (installs PyTorch)

serve: .venv/serve  ## Let `facemake serve` run, with gRPC

.venv/serve: .venv/default requirements/serve.txt
	$(LOCKED) -r requirements/serve.txt
	@touch $@

.venv/onnx: .venv/default requirements/onnx.txt
	$(LOCKED) -r requirements/onnx.txt
	@touch $@

.venv/train: .venv/default requirements/onnx.txt requirements/torch-needs.txt requirements/torch.txt
	$(LOCKED) -r requirements/onnx.txt
	$(PYTORCH)
	@touch $@

.venv/facenet: .venv/default requirements/facenet.txt requirements/torch-needs.txt requirements/torch.txt
	$(PYTORCH)
	$(LOCKED) -r requirements/facenet.txt  # last: pip would complain of what it declares
	@touch $@

protocol: .venv/dev  ## Write the code of gRPC again from embed.proto
	$(BIN)/python -m grpc_tools.protoc -Iscripts --python_out=scripts --pyi_out=scripts \
	    --grpc_python_out=scripts facemake/embedserver/protocol/embed.proto

lock:  ## Write the lock files again from pyproject.toml and requirements/*.in (needs uv)
	$(LOCK) pyproject.toml --excludes requirements/not-needed.txt -o requirements/default.txt
	$(LOCK) pyproject.toml --extra dev --extra 3di --extra onnx --extra retinaface \
	    --extra serve --extra grpc --extra slurm --excludes requirements/not-needed.txt \
	    -c requirements/default.txt -o requirements/dev.txt
	$(LOCK) requirements/build.in -o requirements/build.txt
	$(LOCK) --no-deps requirements/slurm.in -o requirements/slurm.txt
	$(LOCK) --no-deps requirements/bundled.in -o requirements/bundled.txt
	$(LOCK) requirements/stacks/pip.in -o requirements/stacks/pip.txt
	$(LOCK) --no-deps requirements/facenet.in -o requirements/facenet.txt
	$(LOCK) pyproject.toml --extra onnx --extra retinaface --excludes requirements/not-needed.txt \
	    -c requirements/default.txt -o requirements/onnx.txt
	$(LOCK) pyproject.toml --extra serve --extra grpc --excludes requirements/not-needed.txt \
	    -c requirements/default.txt -c requirements/dev.txt -o requirements/serve.txt
	$(LOCK) pyproject.toml --extra docs --excludes requirements/not-needed.txt \
	    -c requirements/default.txt -c requirements/dev.txt -o requirements/docs.txt
	$(LOCK) requirements/readers.in --excludes requirements/not-needed-readers.txt \
	    -c requirements/default.txt -o requirements/readers.txt
	$(LOCK) requirements/serve-rknn.in --excludes requirements/not-needed.txt \
	    -c requirements/default.txt -c requirements/dev.txt -o requirements/serve-rknn.txt
	$(LOCK) requirements/stacks/retinaface-gpu.in --excludes requirements/not-needed.txt \
	    --excludes requirements/not-needed-gpu.txt \
	    -c requirements/default.txt -c requirements/dev.txt -o requirements/stacks/retinaface-gpu.txt
	$(LOCK) requirements/torch.txt --excludes requirements/not-needed.txt \
	    --excludes requirements/not-needed-torch.txt --no-emit-package torch \
	    -c requirements/default.txt -c requirements/dev.txt -o requirements/torch-needs.txt
	for stack in facenet train; do \
	    $(LOCK) requirements/stacks/$$stack.in --overrides requirements/stacks/overrides.txt \
	        --excludes requirements/not-needed.txt --excludes requirements/not-needed-torch.txt \
	        --no-emit-package torch -c requirements/facenet.txt -c requirements/default.txt \
	        -c requirements/dev.txt -o requirements/stacks/$$stack.txt || exit 1; done
	$(LOCK) requirements/stacks/torch-gpu.in -c requirements/stacks/facenet.txt \
	    -c requirements/stacks/train.txt -o requirements/stacks/torch-gpu.txt
	for stack in core mediapipe onnx onnx-gpu opencv dlib retinaface threedi cuda; do \
	    $(LOCK) requirements/stacks/$$stack.in --excludes requirements/not-needed.txt \
	        -c requirements/default.txt -c requirements/dev.txt -o requirements/stacks/$$stack.txt \
	        || exit 1; done

clean:  ## Delete the results and the run's own folder; the environment and the cache stay
	rm -rf results results-3di results-extract results-train site .facemake .snakemake

help:  ## This list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18
