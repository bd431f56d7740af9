"""One shard of a corpus -> its rows of the feature cache, in a worker process.

    files -> waveforms (n_samples,) -> frames (rows, max_frames, n_mels) float16 -> cache

Files that are no usable audio are skipped and named.
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

from kwspot.audio.reading import AudioError, Waveform, check_readable, read_clip
from kwspot.corpus.layout import SILENCE_FOLDER, Clip
from kwspot.errors import MissingError
from kwspot.features.cache import CacheWriter, silence_value
from kwspot.features.silence import silence_waveform
from kwspot.files import sha256_of_file

BATCH = 8  # clips computed at once: what they pass through stays in a cache of 1 to 2 MB


@dataclass(frozen=True)
class Shard:
    """What a worker needs to compute and write one shard."""

    data: Path
    writer: CacheWriter
    number: int
    clips: Sequence[Clip]
    noise: Sequence[str]  # names of the noise recordings


def start_worker() -> None:
    """Set up a worker: one thread, no answer to Ctrl-C (the parent's matter), an end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        if parent:
            parent.join()  # a worker whose parent was killed would wait for work forever
            os._exit(1)

    Thread(target=end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)


def compute_shard(shard: Shard) -> None:
    """Read the clips of a shard, compute their frames and finish the shard in the cache."""
    from kwspot.features.log_mel import log_mel_frames  # torch: 0.3 GB that the parent can do without

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
                path = shard.data / clip.name
                check_readable(path)
                digests[clip.name] = sha256_of_file(path)
                decoded = read_clip(path, front_end)
                waveforms[row] = decoded.waveform
                conversions.update(decoded.conversions)
            except AudioError as error:
                skipped.append((clip.name, error.reason))
            except MissingError:  # deleted since it was listed, or a link that points nowhere
                skipped.append((clip.name, "no such file"))
            except OSError as error:
                skipped.append((clip.name, f"cannot be read ({error.strerror})"))
        if waveforms:
            frames[list(waveforms)] = log_mel_frames(list(waveforms.values()), front_end)
            for row, waveform in waveforms.items():
                n_frames[row] = front_end.n_frames(len(waveform))
    record = {"n_frames": n_frames, "digests": digests, "skipped": skipped, "conversions": conversions}
    writer.finish_shard(shard.number, frames, record)
