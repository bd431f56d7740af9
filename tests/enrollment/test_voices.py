"""Other voices: which names are spoken, whose takes are added, and what is never left out of the fit."""

import base64
from dataclasses import replace
from inspect import signature

import pytest

from kwspot.audio.reading import Decoded, as_wav
from kwspot.commands.enroll import enroll as command
from kwspot.enrollment.clips import Take
from kwspot.enrollment.encoder import Encoder
from kwspot.enrollment.enroll import enroll, enroll_takes
from kwspot.enrollment.examples import window_length_for
from kwspot.enrollment.expected import TAKES
from kwspot.enrollment.model_file import read_examples
from kwspot.enrollment.spoken import N_VOICES, speak
from kwspot.enrollment.voices import other_voices
from kwspot.errors import KwspotError, MissingPartError
from kwspot.synthesis.corpus import chosen_engines
from kwspot.synthesis.engines import installed
from kwspot.web.answers import Answers
from tests.sounds import RATE
from tests.words import word

pytestmark = [pytest.mark.slow, pytest.mark.skipif("pico" not in installed(), reason="no synthesiser")]


@pytest.fixture(scope="module")
def encoder():
    return Encoder(threads=1)


@pytest.fixture(scope="module")
def recorded():
    """One voice of another synthesiser stands for a person who says two words twice."""
    said = speak(["window", "yellow"], n_voices=2, engines=["hibari"], seed=3)
    return [replace(take, speaker=None, spoken=False) for take in said if take.is_keyword]


def in_base64(waveform):
    return base64.b64encode(as_wav(Decoded(waveform, RATE))).decode()


def voices(takes, encoder, n_voices=3, engines=("pico",)):
    return other_voices(takes, encoder, n_voices=n_voices, engines=engines)


def test_other_voices_say_what_was_recorded(recorded, encoder):
    added = voices(recorded, encoder)
    assert all(take.spoken and take.speaker for take in added)
    words = [take.word for take in added]
    assert (words.count("window"), words.count("yellow")) == (3, 3)
    assert words.count("unknown") == 12


def test_a_name_that_was_not_recorded_is_not_added(recorded, encoder):
    swapped = {"window": "yellow", "yellow": "cat"}
    assert voices([replace(take, word=swapped[take.word]) for take in recorded], encoder) == []


@pytest.mark.parametrize("name", ["word1", "مرحبا", "one two three four five", "42", "a-" * 60])
def test_names_that_no_voice_says(encoder, monkeypatch, name):
    monkeypatch.setattr("kwspot.enrollment.voices.speak", lambda *_, **__: pytest.fail("a voice was asked"))
    assert voices([Take(name, None, "x", word("rise"))], encoder) == []


def test_an_engine_that_fails_is_done_without_unless_it_was_named(recorded, encoder, monkeypatch):
    def fail(*_arguments, **_options):
        raise KwspotError("the engine died")

    monkeypatch.setattr("kwspot.enrollment.voices.speak", fail)
    assert voices(recorded, encoder, engines=None) == []
    with pytest.raises(KwspotError, match="died"):
        voices(recorded, encoder)


@pytest.mark.parametrize("engines", [None, []])
def test_without_a_synthesiser_there_are_none(recorded, encoder, monkeypatch, engines):
    monkeypatch.setattr("kwspot.synthesis.corpus.installed", dict)
    assert voices(recorded, encoder, engines=engines) == []


def test_without_voices_or_words_there_are_none(recorded, encoder, monkeypatch):
    assert voices(recorded, encoder, n_voices=0) == []
    assert voices([replace(take, spoken=True) for take in recorded], encoder) == []
    assert voices([Take("unknown", None, "x", word("rise"))], encoder) == []
    with pytest.raises(MissingPartError, match="'espeak' is not installed"):
        monkeypatch.setattr("kwspot.synthesis.engines.installed", dict)
        monkeypatch.setattr("kwspot.synthesis.corpus.installed", dict)
        voices(recorded, encoder, engines=["espeak"])


def test_what_the_voices_said_before_is_not_taken_twice(recorded, encoder):
    """A folder that `kwspot synthesize` wrote holds what the same voices say."""
    added = voices(recorded, encoder)
    given = [replace(take, spoken=False) for take in added if take.is_keyword]
    sources = enroll_takes([*given, *added], encoder).metadata["enrollment"]["sources"]
    assert [source["spoken"] for source in sources if source["word"] == "window"] == [False] * 3


def test_recordings_alone_are_left_out_and_decide_the_window(recorded, encoder):
    long = Take("window", "pico1", "slow", word("rise", seconds=2), spoken=True)
    assert window_length_for([*recorded, long], encoder) == encoder.clip_length
    assert window_length_for([long], encoder) > RATE
    expected = enroll_takes([*recorded, *voices(recorded, encoder)], encoder).expected
    assert (expected.n, expected.by, expected.n_speakers) == (len(recorded), TAKES, 1)


def test_from_python_as_many_voices_as_are_asked_for(recorded, tmp_path):
    words = {word: [take.waveform for take in recorded if take.word == word] for word in ("window", "yellow")}
    for n_voices in (0, 2):
        path = tmp_path / f"{n_voices}.onnx"
        enroll(words, RATE, path=path, voices=n_voices)
        spoken = [source.word for source in read_examples(path)[0].sources if source.spoken]
        n_engines = len(chosen_engines(None))
        assert spoken.count("window") == spoken.count("yellow") == n_engines * n_voices


def test_the_page_says_which_words_voices_say(recorded, tmp_path):
    words = {
        word: [in_base64(take.waveform) for take in recorded if take.word == word] for word in ("window", "yellow")
    }
    said = Answers(tmp_path / "runs", tmp_path, "keywords10", enrolling=True).enroll("mine", words)["text"]
    assert "Synthetic voices say window, yellow too." in said


def test_the_command_asks_as_many_voices_as_python_does():
    assert signature(command).parameters["voices"].default == N_VOICES == signature(enroll).parameters["voices"].default
