# Each target is one visible command; `make demo` and `make test` need nothing but Python >= 3.11.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint install results racing speed clean

demo: install
	$(BIN)/gcbench run --method randar,randar-raster --bench mini-val --limit-per-class 15 --results results/demo
	$(BIN)/gcbench report --table 1 --suite mini --results results/demo

# A process of one thread per core: much that tests do is done by one thread anyway.
test: install
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

lint: install
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy gcbench baselines benchmarks

comma := ,
empty :=
# What is trained on a shift: METHOD:mini-SHIFT-seedK of the methods, joined by commas, then the generative ones.
seeded = $(subst $(empty) $(empty),$(comma),$(foreach m,$(1),$(foreach k,1 2 3,$(m):mini-$(2)-seed$(k)))),dit:mini-$(2),randar:mini-$(2)
TOKENIZERS := mini-maskgit-vq,mini-vq,mini-var-vqvae
# Of Table 7: 200 evaluations per class.
NOISES := --method dit --bench mini-val --trials 200 --results results/mini
TOKENS := --bench mini-val --subset first-50 --results results/mini
# The committed measurements of the embedded suite, and what is made from them (some hours).
results: install
	$(BIN)/gcbench run --method randar,randar-raster,llamagen,var,vit,resnet:mini-18,resnet:mini-34,resnet:mini-50,dinov2,dat --bench suite:mini --results results/mini
	$(BIN)/gcbench run --method randar:mini-noise,randar:mini-maskgit --bench suite:mini --results results/mini
	$(BIN)/gcbench run --method avarc --trials 3 --bench suite:mini --results results/mini
	$(BIN)/gcbench run --method dit,sit,sit-repa,sit-irepa,sit-reg --bench mini-val,mini-r,mini-s,mini-a --results results/mini
	$(BIN)/gcbench run --method dit,sit,sit-repa,sit-irepa,sit-reg --bench mini-c-gauss,mini-c-jpeg --trials 20 --results results/mini
	$(BIN)/gcbench run $(NOISES) --timesteps 50
	$(BIN)/gcbench run $(NOISES) --timesteps 100
	$(BIN)/gcbench run $(NOISES)
	$(BIN)/gcbench run --method randar --bench mini-val --trials 4 --results results/mini
	$(BIN)/gcbench run --method sit --bench mini-val --protocol published --seed 42 --results results/mini
	$(BIN)/gcbench run --method $(call seeded,erm rwy stitching,camelyon) --bench mini-camelyon-id,mini-camelyon-ood --results results/mini
	$(BIN)/gcbench run --method $(call seeded,erm rwy stitching,celeba) --bench mini-celeba --results results/mini
	$(BIN)/gcbench run --method $(call seeded,erm rwy,fmow) --bench mini-fmow-id,mini-fmow-ood --results results/mini
	$(BIN)/gcbench tokenizer --tokenizer $(TOKENIZERS) --bench mini-val --results results/mini
	$(BIN)/gcbench analyze --method randar-raster $(TOKENS)
	$(BIN)/gcbench analyze --method randar --trials 20 $(TOKENS)
	$(BIN)/gcbench analyze --method llamagen,var $(TOKENS)
	$(BIN)/gcbench report --all --results results/mini --out results/mini/tables
	cp results/mini/tables/figures/* docs/
	$(BIN)/python -m tools.pages --update

# The measurements of docs/racing.md (about an hour on two cores).
FAST := --method randar --trials 20 --path compiled --precision bf16 --results results/racing
PAIRS := $(FAST) --variant pairs --bench mini-pairs --subset random-10
racing: install
	$(BIN)/gcbench run $(PAIRS)
	$(BIN)/gcbench run $(PAIRS) --strategy race --delta 0.001
	$(BIN)/gcbench run $(PAIRS) --strategy race --delta 0.01
	$(BIN)/gcbench run $(PAIRS) --strategy propose+race
	$(BIN)/gcbench run $(PAIRS) --strategy propose+race --keep 15 --delta 0.01
	$(BIN)/gcbench run $(PAIRS) --strategy prefix+race
	$(BIN)/gcbench run $(PAIRS) --strategy adaptive-li2023
	$(BIN)/gcbench run --method randar --variant pairs --bench mini-pairs --subset random-1 --trials 4 --path reference --results results/racing
	$(BIN)/gcbench run $(FAST) --bench mini-val --strategy race
	$(BIN)/gcbench run --method dit --bench mini-val --trials 100 --batch-size 250 --results results/mini
	$(BIN)/gcbench run --method dit --bench mini-val --trials 100 --batch-size 250 --strategy race --delta 0.03 --results results/racing
	$(BIN)/python -m tools.racing results/racing results/mini --update

# The recorded speeds of docs/speed.md (about a quarter of an hour; leave the machine alone meanwhile).
MID := --set dim=384 --set n_layer=6 --set n_head=6 --set vocab_size=4096 --set tokenizer.codebook_size=4096
SPEED := $(BIN)/gcbench speed --json --method randar
speed: install
	$(SPEED) --trials 8 > results/speed/mini.json
	$(SPEED) --variant l --random-weights $(MID) --classes 40 --rounds 3 > results/speed/mid.json
	$(SPEED) --variant l --random-weights --classes 4 --rounds 3 > results/speed/randar-l.json
	$(BIN)/python -m tools.speed --update

install: .venv/.installed

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv results/demo results/local
