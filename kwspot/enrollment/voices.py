"""The names of recorded words -> more takes of them: synthesisers say what people recorded.

Takes of one voice know one voice. Where the name of a word says in English what was recorded, other voices cost
seconds. Whether it does is heard: the recordings must resemble what they say more than 95 % of other words do.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
import re

import numpy as np
from numpy.typing import NDArray

from kwspot.enrollment.background import WORD, read_background
from kwspot.enrollment.clips import Take
from kwspot.enrollment.encoder import Encoder
from kwspot.enrollment.examples import window_length_for
from kwspot.enrollment.spoken import N_VOICES, speak
from kwspot.enrollment.variants import centred
from kwspot.errors import KwspotError
from kwspot.synthesis.corpus import chosen_engines
from kwspot.tasks import UNKNOWN

NEARER = 0.05  # of other words may resemble the recordings more than what the voices say
MOST_WORDS = 4  # in a name


def other_voices(
    takes: Sequence[Take],
    encoder: Encoder,
    *,
    n_voices: int = N_VOICES,
    seed: int = 1,
    engines: Sequence[str] | None = None,
    avoid: Sequence[str] = (),
    report: Callable[..., None] = lambda done, total, message="": None,
) -> list[Take]:
    """Let `n_voices` of every fast engine, or of `engines`, say the words that were recorded.

    Returns takes of the words whose names say what was recorded, and of other texts as `unknown`; none without such
    words, or without an engine that can say them. Words that voices say already are left as they are, and the other
    texts are none of them, nor of the keywords to `avoid`. KwspotError if an engine that is named fails.
    """
    spoken = {take.word for take in takes if take.spoken and take.is_keyword}
    recorded = dict.fromkeys(take.word for take in takes if take.is_keyword and take.word not in spoken)
    named = {text: word for word in recorded if (text := _text_of(word))}
    if not (named and n_voices):
        return []
    others = [*avoid, *spoken, *recorded]
    try:
        fast = engines or list(chosen_engines(None))
        said = speak([*named], n_voices=n_voices, seed=seed, engines=fast, avoid=others, report=report)
    except KwspotError:  # a name that takes too long to say, no engine, or one that does not work here
        if engines:
            raise
        return []
    said = [replace(take, word=named.get(take.word, take.word)) for take in said]
    alike = _alike(takes, said, encoder)
    return [take for take in said if take.word in (*alike, UNKNOWN)] if alike else []


def _text_of(name: str) -> str | None:
    """Return what a voice, which reads English, is to say for a name, None for no words: "Hey_You" -> "hey you"."""
    words = re.sub(r"[\W_]+", " ", name.replace("'", "")).lower().split()
    return " ".join(words) if len(words) <= MOST_WORDS and all(re.fullmatch("[a-z]+", word) for word in words) else None


def _alike(recorded: Sequence[Take], said: Sequence[Take], encoder: Encoder) -> list[str]:
    """List the words whose recordings resemble what the voices say for their names.

    The cosine of the mean embeddings is compared with that of every word in the background; what all recordings, or all
    synthesisers, have in common is taken off.
    """
    window_length = window_length_for(recorded, encoder)
    background = read_background(encoder, window_length)
    of_people = background.of(WORD).mean(0)
    of_voices = _mean([take for take in said if not take.is_keyword], encoder, window_length)
    alike = []
    for word in dict.fromkeys(take.word for take in said if take.is_keyword):
        own = _mean([take for take in recorded if take.word == word], encoder, window_length) - of_people
        voices = _mean([take for take in said if take.word == word], encoder, window_length) - of_voices
        others = background.without([word]).of(WORD) - of_people
        nearer = others @ own / np.linalg.norm(others, axis=1) > voices @ own / np.linalg.norm(voices)
        if nearer.mean() <= NEARER:
            alike.append(word)
    return alike


def _mean(takes: Sequence[Take], encoder: Encoder, window_length: int) -> NDArray[np.float32]:
    return np.asarray(encoder.embed([centred(take.waveform, window_length) for take in takes]).mean(0))
