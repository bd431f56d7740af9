import subprocess
import sys

import numpy as np
import pytest

from kwspot.errors import ConfigError, KwspotError, MissingPartError
from kwspot.synthesis import engines
from kwspot.synthesis.engines import ENGINES, Engine, Utterance
from kwspot.tasks import WORDS_35
from tests.voices import EACH_ENGINE

pytestmark = pytest.mark.slow

each_engine = pytest.mark.parametrize("name", EACH_ENGINE)


def heard_s(waveform, sample_rate):
    """Seconds from the first to the last 10 ms within 40 dB of the loudest."""
    n = sample_rate // 100
    power = np.add.reduceat(waveform**2, np.arange(0, len(waveform), n))
    heard = np.flatnonzero(power > 1e-4 * power.max())
    return (heard[-1] - heard[0] + 1) / 100


def f0_hz(waveform, sample_rate):
    """Pitch of the loudest 60 ms, by autocorrelation."""
    n = sample_rate * 60 // 1000
    start = int(np.convolve(waveform**2, np.ones(n), "valid").argmax())
    part = waveform[start : start + n] * np.hanning(n)
    correlation = np.correlate(part, part, "full")[n - 1 :]
    lags = np.arange(sample_rate // 450, sample_rate // 55)
    return sample_rate / lags[correlation[lags].argmax()]


@each_engine
def test_speaks_every_word(name):
    accent = ENGINES[name].accents[0]
    with Engine(name) as engine:
        for word in WORDS_35:
            waveform, sample_rate = engine.speak(Utterance(word, accent))
            assert 0.15 < heard_s(waveform, sample_rate) < 0.95, word
            assert 0.02 < np.abs(waveform).max() <= 1, word


@each_engine
def test_accents_differ(name):
    accents = list(dict.fromkeys(ENGINES[name].accents))
    accents = accents[:60] if name != "kokoro" else accents[::20]  # it takes as long as the word
    with Engine(name) as engine:
        spoken = [engine.speak(Utterance("dog", accent))[0].tobytes() for accent in accents]
    assert len(set(spoken)) == len(accents)


@each_engine
def test_says_the_same_again_in_any_order_and_process(name):
    accent = ENGINES[name].accents[0]
    asked = [Utterance(word, accent, pitch=pitch) for word in ("yes", "up") for pitch in (0.8, 1.2)]
    with Engine(name) as engine:
        once = [engine.speak(one)[0].tobytes() for one in asked + asked[:2]]
    with Engine(name) as engine:
        again = [engine.speak(one)[0].tobytes() for one in reversed(asked)]
    assert once[:4] == again[::-1]
    assert once[:2] == once[4:]


@each_engine
def test_pitch_and_pace_are_ratios(name):
    def say(**how):
        return engine.speak(Utterance("learn", ENGINES[name].accents[0], **how))

    with Engine(name) as engine:
        assert f0_hz(*say(pitch=1.3)) / f0_hz(*say(pitch=0.8)) == pytest.approx(1.3 / 0.8, rel=0.25)
        assert heard_s(*say(tempo=0.7)) / heard_s(*say(tempo=1.1)) == pytest.approx(1.1 / 0.7, rel=0.35)


@each_engine
def test_speaks_a_word_it_was_not_made_for(name):
    with Engine(name) as engine:
        waveform, sample_rate = engine.speak(Utterance("computer", ENGINES[name].accents[-1]))
    assert heard_s(waveform, sample_rate) > 0.3


@each_engine
def test_a_process_that_dies_is_named_with_its_last_words(name):
    with Engine(name) as engine, pytest.raises(KwspotError, match=rf"'{name}' stopped at 'yes': \w+"):
        engine.speak(Utterance("yes", accent="marsian", tempo="fast"))


def test_no_engine_is_loaded_into_this_process():
    code = "import sys, kwspot.synthesis.corpus; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"hibari", "py_nanotts", "espeakng_loader", "torch", "onnxruntime"} & set(loaded)


def test_an_unknown_and_a_missing_engine(monkeypatch):
    with pytest.raises(ConfigError, match="no engine 'festival'; known: hibari, pico, espeak, kokoro"):
        Engine("festival")
    monkeypatch.setattr(engines, "installed", dict)
    with pytest.raises(MissingPartError, match=r"pip install 'kwspot\[espeak\]'"):
        Engine("espeak")
