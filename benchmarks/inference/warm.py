"""How many clips a second does an open model predict, beside the graph alone and beside torch?

    python -m benchmarks.inference.warm [--clips 300] [--rounds 7]

In one process, on one thread. The graph alone is onnxruntime on clips that are in memory, in the batches that kwspot
makes; kwspot reads files of a second (16-bit WAV), as `kwspot predict FOLDER` does; torch reads the same files and has
the same architecture. The bundled models for clips, torch with the weights it starts from.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch

from benchmarks.beside import Times, cpu_s, here, in_turns, machine, ratio, scratch, table, write_page
from kwspot import Spotter
from kwspot.audio.inputs import Source
from kwspot.audio.reading import read_clip
from kwspot.experiments.registry import load_experiment
from kwspot.features.log_mel import LogMel
from kwspot.inference.batch import BATCH, predict_all
from kwspot.models.factory import build_model

MODELS = ("keywords10", "keywords10_nano")
PAGE = """# Predicting clips with an open model

Written by `{program}`; its first lines say what the sides are. {clips:,} clips, medians of {rounds} rounds
in turns on {machine}.

{table}

Goal: at most 1.2 times the graph alone.
"""


def measured(name: str, paths: list[Path], rounds: int) -> Times:
    """Run the sides of one model in turns."""
    spotter, experiment = Spotter.load(name, threads=1), load_experiment(name)
    clips = [spotter.read(path) for path in paths]
    batches = [np.stack(clips[i : i + BATCH]) for i in range(0, len(clips), BATCH)]
    model = build_model(experiment.model, experiment.front_end.n_mels, len(spotter.labels)).eval()
    log_mel = LogMel(experiment.front_end)

    def by_graph() -> None:
        for batch in batches:
            spotter.session.run(None, {"waveform": batch})

    def by_kwspot() -> None:
        for _ in predict_all(spotter, (Source(str(path), path) for path in paths)):
            pass

    def by_torch() -> None:
        with torch.no_grad():
            for first in range(0, len(paths), BATCH):
                read = [read_clip(path, experiment.front_end).waveform for path in paths[first : first + BATCH]]
                features = log_mel(torch.from_numpy(np.stack(read)))
                model(features, torch.full((len(read),), features.shape[1])).softmax(-1)

    sides = {"graph alone": by_graph, "kwspot": by_kwspot, "torch": by_torch}
    return in_turns(rounds, {side: partial(here, work) for side, work in sides.items()})


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clips", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with scratch() as folder:
        random = np.random.default_rng(0)
        paths = [folder / f"{i}.wav" for i in range(options.clips)]
        for path in paths:
            soundfile.write(path, random.normal(0, 0.1, 16_000), 16_000, "PCM_16")
        for name in MODELS:
            times = measured(name, paths, options.rounds)
            for side in times:
                rate = options.clips / cpu_s(times, side)
                rows.append([f"`{name}`: {side}", f"{rate:,.0f}", f"{ratio(times, side, 'graph alone'):.2f}"])
    write_page(
        __file__, PAGE, **vars(options), machine=machine("numpy", "onnxruntime", "torch"),
        table=table(["side", "clips a CPU second", "x graph alone"], rows),
    )  # fmt: skip


if __name__ == "__main__":
    main()
