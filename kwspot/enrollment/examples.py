"""Takes -> embeddings to fit a head on, and what a model file remembers of them.

A take of a word gives so many rows that its word has about fifty; the first row is the take as it was recorded.
Other speech and noise are cut into windows.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kwspot.audio.reading import Waveform
from kwspot.enrollment.clips import Take
from kwspot.enrollment.encoder import Embeddings, Encoder
from kwspot.enrollment.variants import centred, variants
from kwspot.signal.channel import STEP
from kwspot.tasks import SILENCE, UNKNOWN

ROWS_A_WORD = 50
ROWS_A_TAKE = (2, 20)
MOST_WINDOWS = 60  # of one recording of other speech or noise
LONG = 0.8  # of the takes of each word are no longer than the window


@dataclass(frozen=True)
class Source:
    """Where rows come from: a take without its sound. `n_rows` rows, one after the other."""

    word: str
    speaker: str | None
    name: str
    digest: str
    n_rows: int
    spoken: bool = False


@dataclass(frozen=True)
class Examples:
    """Embeddings (n, n_features) of windows of `window_length` samples, in the order of their sources."""

    sources: tuple[Source, ...]
    embeddings: Embeddings
    window_length: int

    @property
    def keywords(self) -> tuple[str, ...]:
        """The words to spot, in order."""
        return tuple(dict.fromkeys(s.word for s in self.sources if s.word not in (UNKNOWN, SILENCE)))

    @property
    def source_of(self) -> NDArray[np.int64]:
        """Return the source of every row: (n,)."""
        return np.repeat(np.arange(len(self.sources)), [source.n_rows for source in self.sources])

    @property
    def as_recorded(self) -> NDArray[np.int64]:
        """Return the first row of every source: (n_sources,)."""
        return np.cumsum([0, *(source.n_rows for source in self.sources)])[:-1]

    def joined(self, more: "Examples") -> "Examples":
        """Put others behind these."""
        together = np.concatenate([self.embeddings, more.embeddings])
        return Examples((*self.sources, *more.sources), together, self.window_length)


def window_length_for(takes: Sequence[Take], encoder: Encoder) -> int:
    """Return the window that words fit into, in samples: the encoder's, or longer in steps of a quarter of a second.

    What people recorded decides, and of a word that nobody recorded what synthesisers say.
    """
    lengths: dict[str, list[int]] = {}
    recorded = {take.word for take in takes if not take.spoken}
    for take in takes:
        if take.is_keyword and not (take.spoken and take.word in recorded):
            lengths.setdefault(take.word, []).append(len(take.waveform))
    longest = max(float(np.quantile(those, LONG)) for those in lengths.values())
    return max(encoder.clip_length, STEP * int(np.ceil(longest / STEP)))


def embed_takes(
    takes: Sequence[Take],
    encoder: Encoder,
    window_length: int,
    rng: np.random.Generator,
    report: Callable[..., None] = lambda done, total: None,
) -> Examples:
    """Embed takes and their variants."""
    n_takes = Counter((take.word, take.spoken) for take in takes)
    sources, embeddings = [], []
    for i, take in enumerate(takes):
        n = int(np.clip(np.ceil(ROWS_A_WORD / n_takes[take.word, take.spoken]), *ROWS_A_TAKE))
        windows = (
            variants(take.waveform, window_length, n, rng)
            if take.is_keyword
            else cut(take.waveform, window_length, rng)
        )
        embeddings.append(encoder.embed(windows))
        sources.append(Source(take.word, take.speaker, take.name, take.digest, len(windows), take.spoken))
        report(i + 1, len(takes))
    return Examples(tuple(sources), np.concatenate(embeddings), window_length)


def cut(waveform: Waveform, window_length: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Cut a recording into windows (n, window_length); one that fits into a window is also recorded anew."""
    if len(waveform) <= window_length:
        return variants(waveform, window_length, 2, rng) if waveform.any() else centred(waveform, window_length)[None]
    starts = np.arange(0, len(waveform) - window_length + 1, window_length)
    chosen = np.sort(rng.permutation(starts)[:MOST_WINDOWS])
    return np.stack([waveform[start : start + window_length] for start in chosen])
