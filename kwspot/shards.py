"""One shard of a corpus -> its rows of the feature cache, in a worker process.

    files -> waveforms (n_samples,) -> frames (rows, max_frames, n_mels) float16 -> cache

Files that are no usable audio are skipped and named. Silence follows TensorFlow's speech_commands: noise at a
volume of U(0, 0.1) for training and validation, from different parts of the noise files, and digital zeros for
testing (the hash-split protocol).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
import multiprocessing
import os
from pathlib import Path
import signal
from threading import Thread

import numpy as np

from kwspot.audio import AudioError, Waveform, duration_s, read_clip, read_waveform, resample
from kwspot.cache import CacheWriter, silence_value
from kwspot.corpus import SILENCE_FOLDER, TRAIN, VALIDATION, Clip
from kwspot.files import sha256_of_file
from kwspot.settings import FrontEnd

BATCH = 16  # clips computed at once; more is no faster, and its memory counts in every worker
SILENCE_SEED = 59185  # TensorFlow's RANDOM_SEED
SILENCE_VOLUME = 0.1  # at most; uniform from 0
NOISE_SPANS = {TRAIN: (0.0, 0.8), VALIDATION: (0.8, 0.9)}  # of the time of every noise file
UNHEARD_SPAN = (0.9, 1.0)  # what neither of them hears


@dataclass(frozen=True)
class Shard:
    """What a worker needs to compute and write one shard."""

    data: Path
    writer: CacheWriter
    number: int
    clips: Sequence[Clip]
    noise: Sequence[tuple[str, float]]  # name, seconds


def start_worker() -> None:
    """Set up a worker: one thread, no answer to Ctrl-C (the parent's matter), an end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent:
            parent.join()  # a worker whose parent was killed would wait for work for ever
            os._exit(1)

    Thread(target=end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)


def compute_shard(shard: Shard) -> None:
    """Read the clips of a shard, compute their frames and finish the shard in the cache."""
    from kwspot.features import log_mel_frames  # torch: 0.3 GB that the parent can do without

    writer, front_end = shard.writer, shard.writer.front_end
    shape = (len(shard.clips), front_end.max_frames, front_end.n_mels)
    frames = np.full(shape, silence_value(front_end), dtype=np.float16)
    n_frames = [0] * len(shard.clips)  # 0: skipped
    digests: dict[str, str] = {}
    skipped: list[tuple[str, str]] = []
    conversions: Counter[str] = Counter()
    for first in range(0, len(shard.clips), BATCH):
        waveforms: dict[int, Waveform] = {}  # by row of the shard
        for row, clip in enumerate(shard.clips[first : first + BATCH], first):
            try:
                if clip.name.startswith(SILENCE_FOLDER):
                    waveforms[row] = silence_waveform(shard.data, clip, shard.noise, front_end)
                    continue
                digests[clip.name] = sha256_of_file(shard.data / clip.name)
                decoded = read_clip(shard.data / clip.name, front_end)
                waveforms[row] = decoded.waveform
                conversions.update(decoded.conversions)
            except AudioError as error:
                skipped.append((clip.name, error.reason))
            except OSError as error:
                skipped.append((clip.name, f"cannot be read ({error.strerror})"))
        if waveforms:
            frames[list(waveforms)] = log_mel_frames(list(waveforms.values()), front_end)
            for row, waveform in waveforms.items():
                n_frames[row] = front_end.n_frames(len(waveform))
    record = {"n_frames": n_frames, "digests": digests, "skipped": skipped, "conversions": conversions}
    writer.finish_shard(shard.number, frames, record)


def read_noises(data: Path, names: Sequence[str], span: tuple[float, float], sample_rate: int) -> dict[str, Waveform]:
    """Read a span of the time of every noise file, by name; without those that are no usable audio or silent there."""
    begin, end = span
    parts = {}
    for name in names:
        try:
            seconds = duration_s(data / name)
            decoded = read_waveform(data / name, longest_s=(end - begin) * seconds, start_s=begin * seconds)
        except AudioError:  # featurize named it
            continue
        parts[name] = resample(decoded.waveform, decoded.sample_rate, sample_rate)
    return {name: part for name, part in parts.items() if part.any()}


def silence_waveform(data: Path, clip: Clip, noise: Sequence[tuple[str, float]], front_end: FrontEnd) -> Waveform:
    """Make a clip of silence: zeros for the test split, else a piece of noise; decided by the clip's name."""
    n_samples = front_end.clip_length
    if clip.split not in NOISE_SPANS:
        return np.zeros(n_samples, dtype=np.float32)
    number = int(clip.name.rpartition("-")[2])
    random = np.random.default_rng([SILENCE_SEED, list(NOISE_SPANS).index(clip.split), number])
    name, seconds = noise[int(random.integers(len(noise)))]
    begin, end = (share * seconds for share in NOISE_SPANS[clip.split])
    clip_s = min(n_samples / front_end.sample_rate, end - begin)
    start_s = begin + random.uniform() * (end - begin - clip_s)
    decoded = read_waveform(data / name, longest_s=clip_s, start_s=start_s)
    piece = resample(decoded.waveform, decoded.sample_rate, front_end.sample_rate)
    volume = np.float32(random.uniform(0, SILENCE_VOLUME))
    return volume * np.resize(piece, n_samples)  # a short piece is repeated
