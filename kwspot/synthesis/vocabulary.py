"""A corpus of many different words, each by a few of many voices: what an encoder learns to tell words apart from.

    lexicon -> words and phrases -> a few speakers each, of a large cast -> DEST/<word>/<speaker>_nohash_0.wav

`synthesize_corpus` has every speaker say every word, for a spotter of those words. Here the words are many and what
counts is that they differ: an encoder tells apart words it never heard the better, the more words it learned from
(Synth4Kws, arXiv:2407.16840). Words that will be tested with are left out, and all that sound like them.
"""

from collections.abc import Callable, Iterable, Sequence
import os
from pathlib import Path
from typing import Any

import numpy as np

from kwspot.corpus.install import CORPUS, claimed, place, read_marker
from kwspot.corpus.layout import LISTS, which_split
from kwspot.errors import ConfigError, MissingPartError
from kwspot.seeding import rng_for
from kwspot.signal.channel import CLIP_LENGTH
from kwspot.synthesis.corpus import Line, Speaker, cast, chosen_engines, speak_lines
from kwspot.synthesis.negatives import Lexicon, read_lexicon
from kwspot.synthesis.running import Engines
from kwspot.tasks import SILENCE, UNKNOWN

PHRASE_SHARE = 0.15  # of the vocabulary: two words in one clip
PHRASE_PHONEMES = 10  # of both words at most, so that a second holds them
N_VOICES = 300  # the cast of an engine


def choose_vocabulary(
    n_words: int, rng: np.random.Generator, lexicon: Lexicon, first: Iterable[str] = (), without: Iterable[str] = ()
) -> list[str]:
    """Choose `n_words` different words, `first` before others, then common ones; the last of them two-word phrases.

    No word of `without` is among them, nor one that sounds like it, nor two that sound alike in one accent. `unknown`
    and `silence` are not either: as folders of a corpus these names mean rejection and noise.
    """
    taken = {said for word in without for said in lexicon.of(word)}
    said_us = {us for us, _ in taken}
    chosen: list[str] = []
    n_phrases = round(PHRASE_SHARE * n_words)

    def take(words: Iterable[str], n: int) -> None:
        for word in words:
            if len(chosen) >= n:
                return
            ways = {us for us, _ in lexicon.of(word)}
            if ways and not ways & said_us and word not in (*chosen, UNKNOWN, SILENCE):
                said_us.update(ways)
                chosen.append(word)

    take(dict.fromkeys(word.lower() for word in first), n_words - n_phrases)
    take((lexicon.common[int(i)] for i in rng.permutation(len(lexicon.common))), n_words - n_phrases)
    if not chosen:
        raise ConfigError("a vocabulary needs at least one word of the dictionary")
    singles = list(chosen)
    lengths = {word: len(lexicon.of(word)[0][0]) for word in singles}
    short = [word for word in singles if lengths[word] < PHRASE_PHONEMES]
    for _ in range(20 * n_phrases):
        if len(chosen) >= n_words or len(short) < 2:
            break
        one, other = (short[int(i)] for i in rng.choice(len(short), 2, replace=False))
        if lengths[one] + lengths[other] <= PHRASE_PHONEMES and f"{one} {other}" not in chosen:
            chosen.append(f"{one} {other}")
    return chosen


def speak_vocabulary(
    dest: Path,
    words: Sequence[str],
    *,
    n_each: int,
    seed: int = 1,
    engines: Sequence[str] | None = None,
    workers: int = 2,
    report: Callable[..., None] = lambda done, total, message="": None,
) -> dict[str, Any]:
    """Speak every word by `n_each` voices of every engine into `dest`, whole or not at all; return its marker.

    MissingPartError if no engine is installed, ConfigError if `dest` holds something else.
    """
    versions = chosen_engines(engines, report)
    plan: dict[str, Any] = {"engines": versions, "n_each": n_each, "seed": seed, "words": list(words)}
    with claimed(dest, CORPUS):
        marker = read_marker(dest)
        if marker and all(marker.get(key) == value for key, value in plan.items()):
            return marker
        if marker:
            raise ConfigError(f"{dest}: holds another corpus; delete it, or give another folder")
        lines = [line for engine in versions for line in _shared_out(words, cast(engine, N_VOICES, seed), n_each, seed)]

        def fill(folder: Path) -> None:
            with Engines() as running:
                speak_lines(folder, lines, seed, CLIP_LENGTH, running, min(workers, os.cpu_count() or 1), report)
            for file, split in LISTS.items():
                listed = sorted(line.file for line in lines if which_split(line.speaker.name) == split)
                (folder / file).write_text("\n".join(listed), encoding="utf-8")

        return place(dest, CORPUS, fill, name="vocabulary", source="synthetic", sha256=None, **plan)


def _shared_out(words: Sequence[str], speakers: Sequence[Speaker], n_each: int, seed: int) -> list[Line]:
    """Give every word to a few speakers, so that all have about as many words to say."""
    rng = rng_for(seed, "vocabulary", speakers[0].engine)
    turns: list[int] = []
    lines = []
    for word in words:
        if len(turns) < n_each:
            turns = [int(i) for i in rng.permutation(len(speakers))]
        mine, turns = turns[:n_each], turns[n_each:]
        lines += [Line(speakers[i], word, f"{word}/{speakers[i].name}_nohash_0.wav") for i in mine]
    return lines


def needed_lexicon() -> Lexicon:
    """Return the dictionary that comes with hibari-tts; MissingPartError without it."""
    lexicon = read_lexicon()
    if lexicon is None:
        raise MissingPartError("the dictionary comes with hibari-tts, which is not installed", "synth")
    return lexicon
