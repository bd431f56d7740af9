"""Words out of sentences: what the table says is cut, by the right speaker, and a bad table is named."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from kwspot.corpus.layout import read_corpus, which_split
from kwspot.errors import ConfigError, IntegrityError, MissingError
from kwspot.synthesis.sentences import SpokenWord, cut_words, read_times, usable
from tests.sounds import RATE, tone, write_sound

HEADING = "path\tspeaker\tword\tstart_s\tend_s\n"
GOOD = "a.wav\tx\tyes\t0.1\t0.4\n"
PITCHES = {"low": 400, "high": 1600}


@pytest.fixture
def recordings(tmp_path):
    """Sentences of two tones, half a second each after half a second of silence."""
    lines = [HEADING]
    for n in range(6):
        gap = np.zeros(RATE // 2, np.float32)
        parts = [part for hz in PITCHES.values() for part in (gap, tone(hz, 0.5))]
        write_sound(tmp_path / "rec" / f"{n}.wav", np.concatenate(parts))
        lines += [f"{n}.wav\tspeaker {n % 3}\t{word}\t{0.5 + i}\t{1.0 + i}\n" for i, word in enumerate(PITCHES)]
    (tmp_path / "times.tsv").write_text("".join(lines))
    return tmp_path


def test_words_are_cut_where_the_table_says(recordings):
    words = usable(read_times(recordings / "times.tsv"), least=2)
    marker = cut_words(words, recordings / "rec", recordings / "out")
    corpus = read_corpus(recordings / "out")
    assert marker["n_files"] == len(corpus.clips) == 12
    for clip in corpus.clips:
        waveform, rate = soundfile.read(recordings / "out" / clip.name)
        assert (rate, len(waveform)) == (RATE, RATE)
        loudest = np.abs(np.fft.rfft(waveform)).argmax()
        assert abs(loudest - PITCHES[clip.word]) < 30


def test_a_speaker_stays_in_one_split_and_keeps_his_name(recordings):
    cut_words(read_times(recordings / "times.tsv"), recordings / "rec", recordings / "out")
    clips = read_corpus(recordings / "out").clips
    assert len({clip.speaker for clip in clips}) == 3
    assert all(clip.split == which_split(clip.speaker) for clip in clips)
    assert set(Counter((clip.word, clip.speaker) for clip in clips).values()) == {2}


def test_the_same_seed_cuts_the_same_bytes(recordings):
    words = read_times(recordings / "times.tsv")
    cut_words(words, recordings / "rec", recordings / "one")
    cut_words(list(reversed(words)), recordings / "rec", recordings / "two")
    names = sorted(path.name for path in (recordings / "one" / "low").iterdir())
    assert names == sorted(path.name for path in (recordings / "two" / "low").iterdir())
    for name in names:
        assert (recordings / "one" / "low" / name).read_bytes() == (recordings / "two" / "low" / name).read_bytes()


def test_other_words_are_not_cut_into_a_corpus_that_is_there(recordings):
    words = read_times(recordings / "times.tsv")
    first = cut_words(words, recordings / "rec", recordings / "out")
    assert cut_words(words, recordings / "rec", recordings / "out") == first
    moved = [replace(word, start_s=word.start_s + 0.1) for word in words]
    with pytest.raises(ConfigError, match="holds another corpus"):
        cut_words(moved, recordings / "rec", recordings / "out")


def test_rare_long_short_and_unwanted_words_are_left_out():
    often = [SpokenWord("a.wav", "x", "often", 0, 0.4)] * 8
    others = [SpokenWord("a.wav", "x", "rare", 0, 0.4), SpokenWord("a.wav", "x", "often", 0, 0.01)]
    long = [SpokenWord("a.wav", "x", "long", 0, 3.0)] * 8
    assert usable(often + others + long) == often
    assert usable(often, without=["often"]) == []


@pytest.mark.parametrize("name", ["silence", "unknown"])
def test_a_name_of_a_class_is_no_word(name):
    assert usable([SpokenWord("a.wav", "x", name, 0, 0.4)] * 8) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("path\tword\n", "no column speaker, start_s, end_s"),
        (f"{HEADING}a.wav\tx\tyes\t0.1\tsoon\n", "line 2"),
        (f"{HEADING}a.wav\tx\t../yes\t0.1\t0.4\n", "line 2.*no word"),
        (f"{HEADING}{GOOD}a.wav\tx\ty\x1bes\t0.1\t0.4\n", r"line 3: 'y\\u001bes' is no word"),
        (f"{HEADING}{GOOD}a.wav\tx\ty\0es\t0.1\t0.4\n", "line 3: "),
        (f'{HEADING}a.wav\tx\t"y\nes"\t0.1\t0.4\n', r"line 3: 'y\\u000aes' is no word"),
        (f"{HEADING}{GOOD}a.wav\tx\n", "line 3: too few cells"),
        (f"{HEADING}{GOOD}a.wav\tx\t{'y' * 140_000}\t0.1\t0.4\n", "line 3: field larger"),
        ("path\t" + "y" * 140_000, "line 1: field larger"),
    ],
)
def test_bad_table_is_named(tmp_path, text, complaint):
    (tmp_path / "times.tsv").write_text(text)
    with pytest.raises(IntegrityError, match=complaint):
        read_times(tmp_path / "times.tsv")


def test_missing_table_and_missing_recordings_leave_nothing_behind(tmp_path):
    with pytest.raises(MissingError, match="no such table"):
        read_times(tmp_path / "times.tsv")
    with pytest.raises(IntegrityError, match=r"no a\.wav"):
        cut_words([SpokenWord("a.wav", "x", "yes", 0, 0.4)], tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
