"""Long sound with words in it that the bundled model knows, spoken by a synthesiser that is installed."""

from functools import cache

import numpy as np
import pytest

from kwspot import Spotter
from kwspot.audio.reading import resample
from kwspot.synthesis.engines import ENGINES, Engine, Utterance
from tests.sounds import RATE
from tests.voices import USABLE

WORDS = ("yes", "stop", "left", "right", "off", "no", "down")


@cache
def known_words(n_words=3):
    """Return words with their waveforms at 16 kHz, which the bundled model hears in the middle of a second."""
    spotter, known = Spotter.load(threads=1), {}
    for name in USABLE:
        with Engine(name) as engine:
            for word in (word for word in WORDS if word not in known):
                waveform, rate = engine.speak(Utterance(word, ENGINES[name].accents[0]))
                waveform = trimmed(resample(np.asarray(waveform, np.float32), rate, RATE))[: RATE - 1]
                left = (RATE - len(waveform)) // 2
                prediction = spotter.predict(np.pad(waveform, (left, RATE - left - len(waveform))))
                if prediction.word == word and prediction.posterior > 0.9:
                    known[word] = waveform
                if len(known) == n_words:
                    return tuple(known.items())
    return pytest.skip("no synthesiser, or none whose words the bundled model knows")


def trimmed(waveform):
    """Cut off what is more than 40 dB below the loudest 25 ms."""
    power = np.convolve(waveform**2, np.ones(400) / 400, "same")
    heard = np.flatnonzero(power > 1e-4 * power.max())
    return waveform[heard[0] : heard[-1] + 1]


def spoken(n_events, gap_s=1.5, seed=0):
    """Say known words one after the other in faint noise; return the sound and (word, start_s, end_s) of each."""
    random, sound, said = np.random.default_rng(seed), [np.zeros(RATE, np.float32)], []
    for i in range(n_events):
        word, waveform = known_words()[i % len(known_words())]
        start = sum(map(len, sound))
        said.append((word, start / RATE, (start + len(waveform)) / RATE))
        sound += [waveform, np.zeros(round(RATE * (gap_s + random.uniform(0, 0.5))), np.float32)]
    whole = np.concatenate(sound)
    return whole + random.normal(0, 1e-3, len(whole)).astype(np.float32), said
