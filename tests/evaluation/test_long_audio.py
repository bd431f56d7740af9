"""Long sound made of clips: what is where, how loud it is over the noise, and that it is the same every time."""

from dataclasses import replace

import numpy as np
import pytest

from kwspot.corpus.layout import read_corpus
from kwspot.errors import MissingError
from kwspot.evaluation.long_audio import PAUSE_S, assemble
from kwspot.experiments.settings import FrontEnd
from kwspot.features.cache import CachedClip
from kwspot.signal.level import active_level
from tests.sounds import RATE, make_corpus, write_noise, write_sound

FRONT_END = FrontEnd()


def clips_of(data):
    """The clips of a corpus as its features would list them."""
    found = enumerate(read_corpus(data).clips)
    return [CachedClip(i, c.name, c.word, c.speaker, c.split, FRONT_END.max_frames) for i, c in found]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    data = make_corpus(tmp_path_factory.mktemp("corpus"), ("yes", "left", "bed"), n_speakers=40)
    write_noise(data)
    return data


def planned(data, **changes):
    asked = {"split": "test", "hours": 0.02, "snr_db": 10.0, "seed": 1} | changes
    return assemble(clips_of(data), ("yes", "left"), data=data, front_end=FRONT_END, **asked)


def test_it_is_as_long_as_asked_and_nothing_overlaps(corpus):
    assembly = planned(corpus)
    sound = np.concatenate(list(assembly.blocks()))
    assert 72 <= assembly.seconds < 72 + PAUSE_S[1] + 1
    assert len(sound) == pytest.approx(assembly.seconds * RATE, abs=1)
    pauses = [b.start_s - a.end_s for a, b in zip(assembly.spoken, assembly.spoken[1:], strict=False)]
    assert PAUSE_S[0] <= min(pauses)
    assert max(pauses) <= PAUSE_S[1]


def test_clips_are_of_the_split_and_each_comes_before_one_comes_again(corpus):
    of_split = {clip.name for clip in clips_of(corpus) if clip.split == "test" and clip.speaker}
    for word in ("yes", "left", "bed"):
        said = [s.clip for s in planned(corpus, hours=0.2).spoken if s.word == word]
        own = [name for name in of_split if name.startswith(word)]
        assert set(said) == set(own)
    keywords = [s.clip for s in planned(corpus, hours=0.2).spoken if s.word != "bed"]
    n = len({name for name in of_split if not name.startswith(("bed", "_"))})
    assert len(set(keywords[:n])) == n


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_speech_is_so_much_above_the_noise(corpus, snr_db):
    assembly = planned(corpus, snr_db=snr_db)
    quiet, sound = (np.concatenate(list(a.blocks())) for a in (replace(assembly, snr_db=200.0), assembly))
    ratios = []
    for said in assembly.spoken:
        clip = slice(round(said.start_s * RATE), round(said.end_s * RATE))
        noise = sound[clip].astype(float) - quiet[clip]
        ratios.append(20 * np.log10(active_level(quiet[clip], RATE) / noise.std()))
    assert np.mean(ratios) == pytest.approx(snr_db, abs=1.5)  # the level of a recording goes up and down


def test_the_same_seed_the_same_sound_and_another_another(corpus):
    first, again, other = (np.concatenate(list(planned(corpus, seed=s).blocks())) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert len(first) != len(other) or not np.array_equal(first, other)


def test_noise_is_of_the_time_that_training_never_hears(corpus):
    """The noise file says its time by its pitch: 3000 Hz is the last tenth, 1500 Hz the one before."""
    for split, hz in (("test", 3000), ("validation", 1500)):
        noise = planned(corpus, split=split).noises["hum"]
        spectrum = np.abs(np.fft.rfft(noise))
        assert np.fft.rfftfreq(len(noise), 1 / RATE)[spectrum.argmax()] == pytest.approx(hz, abs=20)
    assert set(planned(corpus).noises) == {"hum", "babble"}


def test_without_recordings_of_noise_it_is_generated(tmp_path):
    data = make_corpus(tmp_path, ("yes", "bed"), n_speakers=40)
    asked = {"split": "test", "hours": 0.01, "snr_db": 10, "seed": 1}
    assembly = assemble(clips_of(data), ("yes",), data=data, front_end=FRONT_END, **asked)
    assert set(assembly.noises) == {"pink noise", "babble"}
    assert all(np.square(noise).mean() == pytest.approx(1, rel=1e-3) for noise in assembly.noises.values())


def test_without_other_words_it_says_what_is_missing(corpus):
    clips = [clip for clip in clips_of(corpus) if clip.word != "bed"]
    with pytest.raises(MissingError, match="no test recordings of other words"):
        assemble(clips, ("yes", "left"), data=corpus, front_end=FRONT_END, split="test", hours=0.01, snr_db=10, seed=1)


def test_silent_clips_are_no_division_by_zero(tmp_path):
    data = make_corpus(tmp_path, ("yes",), n_speakers=40)
    for i in range(40):
        write_sound(data / "bed" / f"{i:08x}_nohash_0.wav", np.zeros(RATE, np.float32))
    asked = {"split": "test", "hours": 0.01, "snr_db": 10, "seed": 1}
    assembly = assemble(clips_of(data), ("yes",), data=data, front_end=FRONT_END, **asked)
    assert all(np.isfinite(block).all() for block in assembly.blocks())


def test_a_word_sounds_where_its_clip_is_loud(tmp_path):
    data = make_corpus(tmp_path, ("bed",), n_speakers=40)
    for s in range(40):
        waveform = np.zeros(RATE, np.float32)
        waveform[4000:12000] = 0.3 * np.sin(np.arange(8000))
        write_sound(data / "yes" / f"{s:08x}_nohash_0.wav", waveform)
    assembly = planned(data)
    for said in (one for one in assembly.spoken if one.word == "yes"):
        start_s, end_s = assembly.sounding(said)
        assert start_s - said.start_s == pytest.approx(0.25, abs=0.011)
        assert said.end_s - end_s == pytest.approx(0.25, abs=0.011)
