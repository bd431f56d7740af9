"""A small corpus of features that can be learned: each word is a rising tone of its own, with noise."""

import numpy as np

from kwspot.corpus.layout import IMPORTED, STATE
from kwspot.experiments.registry import load_experiment
from kwspot.experiments.settings import FrontEnd
from kwspot.features.cache import CachedClip, cache_folder, opened_writer
from kwspot.files import write_json

FRONT_END = FrontEnd(clip_ms=230.0)  # 21 frames
SETTINGS = ["front_end.clip_ms=230", "task=folder", "model.hidden_size=16", "train.batch_size=8"]


def toy_experiment(name="rnn", *overrides):
    return load_experiment(name, None, [*SETTINGS, *overrides])


def make_cache(data, words=("left", "right", "up"), n_train=16, n_other=6, seed=0):
    """Write a cache of clips of different lengths; return it opened."""
    generator = np.random.default_rng(seed)
    clips, frames = [], []
    for split, count in (("train", n_train), ("validation", n_other), ("test", n_other)):
        for i in range(count):
            for w, word in enumerate(words):
                n_frames = int(generator.integers(FRONT_END.max_frames // 2, FRONT_END.max_frames + 1))
                values = np.full((FRONT_END.max_frames, FRONT_END.n_mels), np.log(FRONT_END.log_offset))
                values[:n_frames] = generator.normal(-8, 1, (n_frames, FRONT_END.n_mels))
                band = 3 + (FRONT_END.n_mels - 6) * w // len(words)
                values[:n_frames, band : band + 4] += 6
                frames.append(values)
                name = f"{word}/{split}{i:03d}_nohash_0.wav"
                clips.append(CachedClip(len(clips), name, word, f"{split}{i:03d}", split, n_frames))
    folder = cache_folder(data, FRONT_END, f"toy {words} {n_train} {n_other} {seed}")
    with opened_writer(folder, FRONT_END, len(clips)) as writer:
        writer.finish_shard(0, np.stack(frames))
        meta = {"source": "frames", "name": "toy", "corpus_digest": f"toy-{seed}", "skipped": []}
        cache = writer.finish(clips, meta)
    write_json(data / STATE / IMPORTED, {"name": "toy", "digest": f"toy {words} {n_train} {n_other} {seed}"})
    return cache
