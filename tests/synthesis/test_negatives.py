"""What is chosen to be no keyword: near it, beside it, and never it."""

import numpy as np
import pytest

from kwspot.synthesis import negatives
from kwspot.synthesis.negatives import Lexicon, choose_negatives, distance, read_lexicon, without_entry
from kwspot.tasks import WORDS_35

LEXICON = Lexicon(
    {
        "light": "lˈIt", "lights": "lˈIts", "heights": "hˈIts", "on": "ˌɔn", "off": "ˈɔf", "in": "ˈɪn", "lit": "lˈɪt",
        "write": "ɹˈIt", "right": "ɹˈIt", "caught": "kˈɔt", "cot": "kˈɑt", "read": {"DEFAULT": "ɹˈid", "VBD": "ɹˈɛd"},
        "red": "ɹˈɛd", "sauce": "sˈɔs", "source": "sˈɔɹs", "elephant": "ˈɛləfənt", "cat": "kˈæt", "stop": "stˈɑp",
        "stopped": "stˈɑpt", "step": "stˈɛp", "reed": "ɹˈid",
    },
    {"sauce": "sˈɔːs", "source": "sˈɔːs", "Sheila": "ʃˈiːlə"},
    ("cat", "caught", "cot", "elephant", "heights", "in", "light", "lights", "lit", "off", "on", "red", "reed", "right",
     "sauce", "source", "step", "stop", "stopped", "write"),
)  # fmt: skip


def texts(keywords, n_each=20, kind=None, lexicon=LEXICON, seed=0):
    chosen = choose_negatives(keywords, n_each, np.random.default_rng(seed), lexicon)
    return [negative.text for negative in chosen if kind in (None, negative.kind)]


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("", "", 0),
        ("ab", "ab", 0),
        ("ab", "a", 1),
        ("ab", "xb", 1),
        ("ab", "ba", 2),
        ("abc", "xyz", 3),
        ("a", "abcdef", 3),
    ],
)
def test_distance_counts_phonemes_up_to_a_limit(one, other, apart):
    assert distance(one, other, 2) == distance(other, one, 2) == apart


def test_words_one_or_two_phonemes_away_sound_alike():
    assert set(texts(["light"], kind="sounds like")) == {"lit", "write", "right", "heights", "cat", "caught", "cot"}


@pytest.mark.parametrize(
    ("keyword", "never"),
    [("right", {"write"}), ("cot", {"caught"}), ("source", {"sauce"}), ("read", {"red", "reed"}), ("light", {"lights"}),
     ("stop", {"stopped"}), ("lights on", {"light on", "lights on"})],
)  # fmt: skip
def test_what_is_said_alike_and_forms_of_a_word_are_left_out(keyword, never):
    for seed in range(5):
        chosen = texts([keyword], seed=seed)
        assert chosen
        assert not never & set(chosen)


def test_a_phrase_is_taken_apart_turned_round_and_has_words_replaced():
    assert texts(["lights on"], kind="part") == ["lights", "on"]
    assert texts(["lights on"], kind="order") == ["on lights"]
    alike = texts(["lights on"], kind="sounds like")
    assert {"heights on", "lights in"} <= set(alike)
    assert all(sum(a != b for a, b in zip(text.split(), ("lights", "on"), strict=True)) == 1 for text in alike)
    assert all(len(text.split()) == 2 for text in texts(["lights on"], kind="other"))


def test_no_text_of_one_keyword_is_another():
    chosen = texts(["lights on", "lights off", "on lights"])
    assert not {"lights on", "lights off", "on lights"} & set(chosen)
    assert len(set(chosen)) == len(chosen)


def test_keywords_beside_them_are_no_texts():
    """A model that knows "house" is not taught that "house" is other speech when "yes" is added."""

    def draw(avoid):
        return {negative.text for negative in choose_negatives(["yes"], 99, np.random.default_rng(0), None, avoid)}

    assert draw(["house", "cat", "word1"]) == set(WORDS_35) - {"yes", "house", "cat"}
    assert draw(["yes"]) == draw([])


def test_without_a_dictionary_other_words_remain():
    assert texts(["yes"], 10, lexicon=None) == texts(["yes"], 10, kind="other", lexicon=None)
    assert set(texts(["yes"], 99, lexicon=None)) == set(WORDS_35) - {"yes"}
    assert without_entry(["lights on", "abracadabra"], LEXICON) == ["abracadabra"]
    assert without_entry(["lights on"], None) == ["lights", "on"]
    assert without_entry(["sheila", "LIGHTS"], LEXICON) == []


def test_an_environment_without_hibari_has_no_lexicon(monkeypatch):
    monkeypatch.setattr(negatives, "find_spec", lambda _: None)
    read_lexicon.cache_clear()
    assert read_lexicon() is None
    read_lexicon.cache_clear()


@pytest.mark.skipif(read_lexicon() is None, reason="hibari-tts is not installed")
def test_the_real_dictionary():
    lexicon = read_lexicon()
    assert 10_000 < len(lexicon.common) < 20_000
    assert {"window", "seven", "maybe"} < set(lexicon.common)
    assert all(word == word.lower() and word.isalpha() for word in lexicon.common)
    assert without_entry(WORDS_35, lexicon) == ["marvin"]
    keywords = ["yes", "lights on"]
    once, again, other = (texts(keywords, 50, lexicon=lexicon, seed=seed) for seed in (1, 1, 2))
    assert once == again != other
    assert len(once) == 100
    assert {"yet", "less"} & set(once)
    assert len(texts(["yes"], 20, "sounds like", lexicon)) == 10
