"""What is no keyword and has to be said all the same: words that sound alike, parts of a phrase, other words.

    choose_negatives(["lights on"], 50, rng, lexicon) -> "lights", "on lights", "rice on", "lights last", "cat seven", …

Pronunciations are those of misaki's dictionaries (Apache-2.0), which come with hibari-tts: American and British, one
character a phoneme. Two words are alike if one or two phonemes are put in, left out or exchanged. What two accents may
say in one way is the same word: "caught" is no negative of "cot", nor is a form of a keyword ("light" of "lights").

A word is common if the same package's part-of-speech tagger counts it among the words it saw often: 13,000 of the
dictionary's 90,000, without names, rarities and abbreviations; one with two ways to say it ("read") is left out.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
import gzip
from importlib.util import find_spec
import json
from pathlib import Path
from typing import Any

import numpy as np

from kwspot.tasks import WORDS_35

ALIKE = 2  # phonemes that two words that sound alike may differ by
ENDINGS = ("s", "es", "d", "ed", "ing", "er")  # of forms of a word, in spelling
# Of two letters; the others in the dictionary are syllables and abbreviations.
SHORT = frozenset("am an as at do go he hi if in is it me no of oh on or so to up us we".split())  # noqa: SIM905
# Marks of stress fall away, and sounds that accents or a fast tongue make alike become one.
_FOLDED = str.maketrans({"ˈ": "", "ˌ": "", "ː": "", "ᵊ": "ə", "ᵻ": "ɪ", "ɜ": "ə", "ɔ": "ɑ", "ɾ": "t", "ʔ": "t"})
PHONEMES = "AIOWYbdfhijklmnpstuvwzæðŋɑəɛɡɪɹʃʊʌʒʤʧθ"  # what is left of them

Said = tuple[str, str]  # phonemes in the American and the British accent


@dataclass(frozen=True)
class Negative:
    """A text that is no keyword, and why it was chosen: `part`, `order`, `sounds like` or `other`."""

    text: str
    kind: str
    keyword: str  # that it was chosen for


@dataclass(frozen=True, eq=False)
class Lexicon:
    """How words are said: an entry is the phonemes, or phonemes by part of speech; and which words are `common`."""

    american: dict[str, Any]
    british: dict[str, Any]
    common: tuple[str, ...]

    @cached_property
    def spoken(self) -> tuple[str, ...]:
        """The phonemes of the common words in the American accent, in their order."""
        return tuple(self.american[word].translate(_FOLDED) for word in self.common)

    def of(self, word: str) -> list[Said]:
        """Return the ways to say a word; none if the dictionaries lack it."""
        for spelt in (word, word.lower(), word.capitalize()):
            if entry := self.american.get(spelt) or self.british.get(spelt):
                return list(dict.fromkeys(_ways(entry, self.british.get(spelt) or entry)))
        return []


@lru_cache(maxsize=1)
def read_lexicon() -> Lexicon | None:
    """Read the dictionary that comes with hibari-tts, without importing it; None if it is not installed."""
    spec = find_spec("hibari")
    if spec is None or not spec.submodule_search_locations:
        return None
    assets = Path(spec.submodule_search_locations[0]) / "assets"

    def read(name: str) -> Any:
        return json.loads(gzip.decompress((assets / name).read_bytes()))

    seen, gold = set(read("tagger.json.gz")["vocab"]), read("lexicon_us_gold.json.gz")
    usual = (word for word, entry in gold.items() if word in seen and isinstance(entry, str) and _is_plain(word))
    british = read("lexicon_gb_silver.json.gz") | read("lexicon_gb_gold.json.gz")
    return Lexicon(read("lexicon_us_silver.json.gz") | gold, british, tuple(sorted(usual)))


def _ways(us: Any, gb: Any) -> Iterator[Said]:
    """Yield the pronunciations of an entry, folded."""
    american, british = (entry if isinstance(entry, dict) else {"DEFAULT": entry} for entry in (us, gb))
    for part, phonemes in american.items():
        other = british.get(part) or british.get("DEFAULT") or phonemes
        if phonemes:
            yield phonemes.translate(_FOLDED), other.translate(_FOLDED)


def _is_plain(word: str) -> bool:
    if not (word.isascii() and word.isalpha() and word.islower() and set(word) & set("aeiouy")):
        return False
    return len(word) > 2 or word in SHORT


def without_entry(keywords: Iterable[str], lexicon: Lexicon | None) -> list[str]:
    """Return the words of keywords that the dictionary lacks, or all of them without one."""
    words = dict.fromkeys(word for keyword in keywords for word in keyword.split())
    return [word for word in words if lexicon is None or not lexicon.of(word)]


def distance(one: str, other: str, most: int) -> int:
    """Count the phonemes to put in, leave out or exchange between two words; `most` + 1 if there are more."""
    kinds, others = set(one), set(other)
    if abs(len(one) - len(other)) > most or len(kinds - others) > most or len(others - kinds) > most:
        return most + 1  # most pairs end here, quickly
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
        if min(row) > most:
            return most + 1
    return min(row[-1], most + 1)


def choose_negatives(
    keywords: Sequence[str],
    n_each: int,
    rng: np.random.Generator,
    lexicon: Lexicon | None,
    avoid: Sequence[str] = (),
) -> list[Negative]:
    """Choose `n_each` texts for every keyword, all different; none is a keyword, sounds like one, or is a form of one.

    Nor of the words to `avoid`, which are keywords beside these. Of a phrase its parts and other orders of its words,
    then as many texts that sound alike as others. Fewer where there are no more; without a lexicon only what `WORDS_35`
    gives. All is drawn from `rng`.
    """
    chosen: dict[str, Negative] = {}
    spotted = [*keywords, *avoid]
    tabu = {keyword.lower() for keyword in spotted}
    sounds = {said for keyword in spotted for said in _said(keyword, lexicon)}
    others = _others(spotted, rng, lexicon)

    def take(texts: Iterable[str], kind: str, keyword: str, n: int) -> None:
        end = len(chosen) + n
        for text in texts:
            if len(chosen) >= end:
                return
            if text in chosen or text.lower() in tabu or _said(text, lexicon) & sounds or _is_form(text, spotted):
                continue
            chosen[text] = Negative(text, kind, keyword)

    for keyword in keywords:
        words, end = keyword.split(), len(chosen) + n_each
        if len(words) > 1:
            take(words, "part", keyword, end - len(chosen))
            orders = [list(reversed(words)), *([words[i] for i in rng.permutation(len(words))] for _ in range(2))]
            take((" ".join(order) for order in orders), "order", keyword, min(2, end - len(chosen)))
        alike = [_alike(word, rng, lexicon) for word in words]
        take(_replaced(words, alike), "sounds like", keyword, (end - len(chosen) + 1) // 2)
        if len(words) == 1:
            take(others, "other", keyword, end - len(chosen))
        else:  # half of them with a word of the phrase, so that no single word gives it away
            rest, drawn = end - len(chosen), [others[int(i)] for i in rng.permutation(len(others))]
            take(_replaced(words, [drawn[i :: len(words)] for i in range(len(words))]), "other", keyword, rest // 2)
            random = (" ".join(rng.choice(others, len(words), replace=False)) for _ in range(10 * rest))
            take(random, "other", keyword, end - len(chosen))
    return list(chosen.values())


def _said(text: str, lexicon: Lexicon | None) -> set[tuple[int, str]]:
    """Return how a text is said, by accent; nothing if a word has no entry."""
    ways = [("", "")]
    for word in text.split():
        ways = [(us + a, gb + b) for us, gb in ways for a, b in (lexicon.of(word) if lexicon else ())]
    return {(accent, way[accent]) for way in ways for accent in (0, 1)}


def _is_form(text: str, keywords: Sequence[str]) -> bool:
    """Tell whether a text differs from a keyword by an ending of some of its words only: light on, lights on."""

    def forms(a: str, b: str) -> bool:
        pairs = ((long, short) for long, short in ((a, b), (b, a)) if len(long) > len(short))
        made = (stem + ending for _, short in pairs for stem in (short, short + short[-1]) for ending in ENDINGS)
        return a == b or max(a, b, key=len) in made

    words = text.lower().split()
    of_keywords = (keyword.lower().split() for keyword in keywords)
    return any(len(k) == len(words) and all(map(forms, words, k)) for k in of_keywords)


def _alike(word: str, rng: np.random.Generator, lexicon: Lexicon | None) -> list[str]:
    """Return common words that sound like a word, those nearest first, each distance in an order drawn."""
    near = _near(word, lexicon) if lexicon else ()
    return [words[int(i)] for words in near for i in rng.permutation(len(words))]


@lru_cache(maxsize=256)
def _near(word: str, lexicon: Lexicon) -> tuple[list[str], ...]:
    """Return the common words one phoneme away, those two away, and so on."""
    ways = lexicon.of(word)
    near: dict[int, list[str]] = {n: [] for n in range(1, ALIKE + 1)}
    for other, said in zip(lexicon.common, lexicon.spoken, strict=True):
        apart = min((distance(said, way, ALIKE) for way, _british in ways), default=0)
        if apart in near and 2 * apart <= max(len(said), len(ways[0][0])) + 1:  # about half of it is the same
            near[apart].append(other)
    return tuple(near.values())


def _replaced(words: Sequence[str], by: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a phrase with one word replaced, each of its words in turn."""
    for rank in range(max(map(len, by), default=0)):
        for i, others in enumerate(by):
            if rank < len(others):
                yield " ".join([*words[:i], others[rank], *words[i + 1 :]])


def _others(keywords: Sequence[str], rng: np.random.Generator, lexicon: Lexicon | None) -> list[str]:
    """Return other words in an order drawn: those of Speech Commands and common words by turns, then common words."""
    words = {word.lower() for keyword in keywords for word in keyword.split()}
    known = [WORDS_35[int(i)] for i in rng.permutation(len(WORDS_35)) if WORDS_35[int(i)] not in words]
    if lexicon is None:
        return known
    common = [word for i in rng.permutation(len(lexicon.common)) if (word := lexicon.common[int(i)]) not in words]
    mixed = [word for pair in zip(known, common, strict=False) for word in pair]
    return list(dict.fromkeys([*mixed, *common[len(known) :]]))
