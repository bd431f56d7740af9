"""A microphone -> takes of a word: each begins where sound rises above the noise and ends where it is quiet again.

blocks (n,) float32 at `sample_rate` Hz -> takes (n_samples,), trimmed (endpoints.py); those that are no use are named
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from kwspot.audio.reading import Waveform, write_wav
from kwspot.enrollment.clips import LONGEST_S
from kwspot.enrollment.endpoints import ABOVE_NOISE_DB, FRAME_S, endpoints, levels_db
from kwspot.files import written_whole

RISE_DB = 12.0  # above the noise: a word begins
QUIETEST_DB = -50.0  # of full scale, rms of a block: what is quieter is no word into a microphone
BEFORE_S = 0.3  # kept before the rise
AFTER_S = 0.6  # of quiet that end a word
NOISE_S = 2.0  # by which the noise is known
SHORTEST_S = 0.15  # of sound above the noise: a click is shorter
CLIPPED = 0.999  # of full scale
N_CLIPPED = 3  # samples at full scale that are too many
EDGE_BELOW_PEAK_DB = 25.0  # at most, of sound at an edge that belongs to a word

PIECE_S = 0.03  # by which the sound is followed


def level_db(waveform: Waveform) -> float:
    """Return the rms level of a piece of sound, in dB of full scale."""
    return float(10 * np.log10(max(float(np.mean(np.square(waveform, dtype=np.float64))), 1e-12)))


def takes_in(
    blocks: Iterable[Waveform],
    sample_rate: int,
    level: Callable[[float, float, bool], None] = lambda db, seconds, rises: None,
) -> Iterator[Waveform]:
    """Yield the words in a sound, each with the quiet around it, when it is over, or the sound is.

    `level` gets that of every piece (dB of full scale), its length (s) and whether it rises above the noise.
    """
    before: deque[Waveform] = deque(maxlen=round(BEFORE_S / PIECE_S))
    noise: deque[float] = deque(maxlen=round(NOISE_S / PIECE_S))
    word: list[tuple[Waveform, float]] = []  # pieces with their levels
    n_quiet = n_loud = 0
    for piece in _pieces(blocks, round(PIECE_S * sample_rate)):
        now = level_db(piece)
        known = len(before) == before.maxlen  # a word may begin once the noise before it is known
        rises = known and now > float(np.median(noise)) + RISE_DB
        loud = rises and now > QUIETEST_DB
        level(now, PIECE_S, rises)
        if not word and not loud:
            noise.append(now)
            before.append(piece)
            continue
        word.append((piece, now))
        n_loud, n_quiet = n_loud + loud, 0 if loud else n_quiet + 1
        too_long = len(word) * PIECE_S > LONGEST_S + AFTER_S
        if too_long or n_quiet * PIECE_S >= AFTER_S:
            if n_loud * PIECE_S >= SHORTEST_S:
                yield np.concatenate([*before, *(part for part, _ in word)])
            if too_long:  # then it is a new noise
                noise.extend(db for _, db in word)
            before.extend(part for part, _ in word)
            word, n_quiet, n_loud = [], 0, 0
    if n_loud * PIECE_S >= SHORTEST_S:  # the sound ends in a word, or soon after it
        yield np.concatenate([*before, *(part for part, _ in word)])


def _pieces(blocks: Iterable[Waveform], n: int) -> Iterator[Waveform]:
    waiting = np.zeros(0, np.float32)
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        whole = len(waiting) // n * n
        yield from waiting[:whole].reshape(-1, n)
        waiting = waiting[whole:]
    if len(waiting):
        yield waiting


def refused(take: Waveform, sample_rate: int) -> str | None:
    """Say why a take is no use, with what to do; None for a good one."""
    if int((np.abs(take) >= CLIPPED).sum()) >= N_CLIPPED:
        return "clipped; speak more softly, or farther from the microphone"
    start, end = endpoints(take, sample_rate)
    if (end - start) / sample_rate > LONGEST_S:
        return f"longer than {LONGEST_S:g} s; say one word or phrase, and pause"
    levels = levels_db(take, sample_rate)
    standing_out = max(float(np.quantile(levels, 0.1)) + ABOVE_NOISE_DB, float(levels.max()) - EDGE_BELOW_PEAK_DB)
    n = round(PIECE_S / FRAME_S)
    for edge, where in ((levels[:n], "before"), (levels[-n:], "after")):
        if float(edge.mean()) >= standing_out:
            return f"no pause {where} the word; say it alone, with quiet before and after it"
    return None


def write_take(take: Waveform, sample_rate: int, folder: Path) -> Path:
    """Trim a take and write it as the next `take_<n>.wav` of a folder, 16 bits, whole or not at all."""
    numbers = [int(path.stem[5:]) for path in folder.glob("take_*.wav") if path.stem[5:].isdecimal()]
    path = folder / f"take_{max(numbers, default=0) + 1}.wav"
    start, end = endpoints(take, sample_rate)
    with written_whole(path) as partial:
        write_wav(partial, take[start:end], sample_rate)
    return path
