"""A vocabulary: many words, none that will be tested with, each by a few voices of many."""

from collections import Counter

import pytest

from kwspot.corpus.layout import read_corpus
from kwspot.errors import ConfigError
from kwspot.seeding import rng_for
from kwspot.synthesis.engines import installed
from kwspot.synthesis.negatives import read_lexicon
from kwspot.synthesis.vocabulary import choose_vocabulary, speak_vocabulary

LEXICON = read_lexicon()
pytestmark = pytest.mark.skipif(LEXICON is None, reason="the dictionary comes with hibari-tts")


def test_vocabulary_has_different_words_and_phrases_in_its_size():
    chosen = choose_vocabulary(200, rng_for(1), LEXICON, first=["sheila", "house"])
    assert len(chosen) == len(set(chosen)) == 200
    assert {"sheila", "house"} <= set(chosen)
    assert sum(" " in text for text in chosen) == 30


def test_what_will_be_tested_is_left_out_however_it_is_spelt():
    chosen = choose_vocabulary(
        300, rng_for(1), LEXICON, first=["know", "write", "no", "house"], without=["no", "right"]
    )
    assert "house" in chosen
    assert not {word for text in chosen for word in text.split()} & {"no", "know", "right", "write"}


def test_names_of_classes_are_no_words():
    chosen = choose_vocabulary(20, rng_for(1), LEXICON, first=["silence", "unknown", "house"])
    assert not {word for text in chosen for word in text.split()} & {"silence", "unknown"}


def test_words_that_sound_alike_are_one_word():
    chosen = choose_vocabulary(50, rng_for(1), LEXICON, first=["sea", "see"])
    assert "sea" in chosen
    assert "see" not in chosen


def test_nothing_to_choose_from_is_refused():
    with pytest.raises(ConfigError, match="at least one word"):
        choose_vocabulary(0, rng_for(1), LEXICON)


@pytest.mark.skipif("pico" not in installed(), reason="not installed")
def test_every_word_has_voices_of_its_own(tmp_path):
    words = ["house", "tree", "green garden"]
    marker = speak_vocabulary(tmp_path / "v", words, n_each=4, engines=["pico"])
    clips = read_corpus(tmp_path / "v").clips
    assert Counter(clip.word for clip in clips) == dict.fromkeys(words, 4)
    assert len({clip.speaker for clip in clips}) == 12
    assert speak_vocabulary(tmp_path / "v", words, n_each=4, engines=["pico"]) == marker
    with pytest.raises(ConfigError, match="another corpus"):
        speak_vocabulary(tmp_path / "v", words[:2], n_each=4, engines=["pico"])
