"""Fabricate run folders in the record's own format, with figures a test can add up by hand."""

from collections.abc import Sequence
import math
from pathlib import Path
from typing import Any

from kwspot.experiments.runs import BEST, HISTORY, METRICS, RUN, SCHEMA, TIMING, Run, read_run, run_id, write_lines
from kwspot.files import write_json

CORPUS = {
    "name": "speech_commands_v0.02",
    "digest": "c0ffee" + "0" * 58,
    "source": "waveforms",
    "n_clips": {"train": 8100, "validation": 1000, "test": 1100},
}
ENVIRONMENT = {
    "kwspot": "0.1.0",
    "python": "3.11.9",
    "torch": "2.11.0",
    "torchaudio": "2.11.0",
    "platform": "Linux",
    "device": "cpu",
    "threads": 1,
    "commit": None,
}


def make_evaluation(accuracy: float, classes: Sequence[str], split: str = "test", n: int = 100) -> dict[str, Any]:
    """Fabricate an evaluation in which every wrong clip is taken for the next class; 25 speakers share the clips."""
    per_word = n // len(classes)
    hits = round(accuracy * per_word)
    size = range(len(classes))
    return {
        "split": split,
        "corpus": {key: CORPUS[key] for key in ("name", "digest")},
        "n": per_word * len(classes),
        "n_speakers": 25,
        "loss": 0.4,
        "accuracy": accuracy,
        "interval": [accuracy - 0.02, accuracy + 0.02],
        "confidence": 0.95,
        "n_resamples": 1000,
        "classes": list(classes),
        "confusion": [
            [hits if i == j else per_word - hits if j == (i + 1) % len(classes) else 0 for j in size] for i in size
        ],
        "per_class": [
            {"class": c, "n": per_word, "precision": hits / per_word, "recall": hits / per_word} for c in classes
        ],
        "confused": [
            {"true": classes[i], "predicted": classes[(i + 1) % len(classes)], "n": per_word - hits} for i in size
        ],
        "speakers": {f"speaker{i:02d}": [sum(j < round(accuracy * n) for j in range(i, n, 25)), 4] for i in range(25)},
    }


def make_run(
    runs_dir: Path,
    experiment: str = "lstm",
    seed: int = 1,
    *,
    accuracies: Sequence[float] = (0.5, 0.8, 0.9, 0.85),  # validation, an epoch each
    test: float | None = 0.88,
    seconds: float = 840.0,
    finished: bool = True,
    settings: dict[str, Any] | None = None,
    classes: Sequence[str] = ("yes", "no", "stop", "go"),
    corpus: dict[str, Any] | None = None,
    n_parameters: int = 122_347,
    macs: int = 12_345_678,
    why: str = "An experiment for tests.",
) -> Run:
    """Write a run folder as training would and return it as read; losses are -log of the accuracies."""
    settings = settings or {"task": list(classes), "front_end": {}, "model": {"cell": "lstm"}, "train": {"epochs": 9}}
    folder = runs_dir / run_id(experiment, seed, settings)
    record = {
        "schema": SCHEMA,
        "run": folder.name,
        "experiment": experiment,
        "why": why,
        "seed": seed,
        "settings": settings,
        "classes": list(classes),
        "corpus": {**CORPUS, **(corpus or {})},
        "n_parameters": n_parameters,
        "macs": macs,
        "environment": ENVIRONMENT,
    }
    history = [
        {
            "epoch": epoch,
            "loss_train": -math.log(min(accuracy + 0.05, 1)),
            "accuracy_train": min(accuracy + 0.05, 1),
            "loss_validation": -math.log(accuracy),
            "accuracy_validation": accuracy,
            "lr": 1e-3,
            "grad_norm": 1.0,
        }
        for epoch, accuracy in enumerate(accuracies, 1)
    ]
    write_json(folder / RUN, record)
    write_lines(folder / HISTORY, history)
    timing = ({"epoch": line["epoch"], "seconds_train": 10.0, "seconds_validation": 1.0} for line in history)
    write_lines(folder / TIMING, timing)
    if finished:
        best = max(history, key=lambda line: line["accuracy_validation"])
        keys = ("loss_train", "accuracy_train", "loss_validation", "accuracy_validation")
        figures = {key: best[key] for key in keys}
        marks = {"best_epoch": best["epoch"], "epochs": len(history), "stopped": "patience"}
        (folder / BEST).write_bytes(b"weights")
        if test is not None:
            write_json(folder / "eval-test.json", make_evaluation(test, classes))
        write_json(folder / METRICS, {**marks, **figures, "seconds": seconds})
    return read_run(folder)
