"""How much of its accuracy a run keeps when the sound gets worse: its model file under every condition.

    recordings of a split × conditions.CONDITIONS -> `robustness-<split>.json` in the run's folder

Every clip is read as `predict` reads it, changed, and predicted by the spotter: cut to its loudest second where it got
longer. Clips of `silence` are left out: there is no speech to set a noise against.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwspot.audio.reading import Waveform, fit_length, read_clip
from kwspot.corpus.layout import read_corpus
from kwspot.corpus.noise import UNHEARD_SPAN, read_noises
from kwspot.errors import MissingError
from kwspot.evaluation.conditions import CONDITIONS, Source
from kwspot.evaluation.metrics import CONFIDENCE, speaker_interval
from kwspot.experiments.runs import MODEL, Run, load_settings
from kwspot.features.cache import CachedClip, open_cache
from kwspot.features.dataset import recorded_clips, resolve_task, select_measured
from kwspot.files import write_json
from kwspot.inference.spotter import Spotter
from kwspot.seeding import rng_for
from kwspot.tasks import SILENCE

TALKERS = 6
BATCH = 64  # clips in memory at once


def measure_robustness(
    run: Run,
    *,
    split: str,
    data: Path,
    seed: int = 0,
    report: Callable[..., None] = lambda done, total, message="": None,
) -> dict[str, Any]:
    """Measure accuracy and its interval over speakers under every condition; keep them as `robustness-<split>.json`.

    MissingError where the model file is missing, or the corpus holds no recordings of the split.
    """
    if not (run.path / MODEL).is_file():
        raise MissingError(f"{run.path / MODEL}: not there; 'kwspot export {run.id}' writes it")
    experiment, spotter = load_settings(run), Spotter(run.path / MODEL)
    cache = open_cache(data, experiment.front_end)
    task = resolve_task(experiment.task, cache, classes=run.record["classes"])
    chosen = select_measured(cache, task, split, experiment.train.held_out)
    recorded = recorded_clips(chosen, data, "robustness")
    spoken = [(clip, spotter.labels[label]) for clip, label in recorded if clip.word != SILENCE]
    noise, talkers = read_unheard_noise(data, spotter.sample_rate), Talkers([clip for clip, _ in spoken], data, spotter)

    def source(clip: CachedClip) -> Source:
        waveform = read_clip(data / clip.name, spotter).waveform
        draw = partial(_stream, seed, clip.name)
        return Source(waveform, spotter.sample_rate, draw, noise, partial(talkers.beside, clip))

    correct = _correct(spoken, source, spotter, report)
    speakers = [clip.speaker for clip, _ in spoken]
    result = {
        "split": split,
        "corpus": {"name": cache.meta["name"], "digest": cache.meta["corpus_digest"]},
        "n": len(spoken),
        "n_speakers": len(set(speakers)),
        "confidence": CONFIDENCE,
        "seed": seed,
        "n_noise_recordings": len(noise),
        "n_talkers": talkers.most,
        "conditions": [
            {
                "kind": condition.kind,
                "name": condition.name,
                "amount": condition.amount,
                "accuracy": float(row.mean()),
                "interval": speaker_interval(row, speakers),
            }
            for condition, row in zip(CONDITIONS, correct, strict=True)
        ],
    }
    write_json(run.path / f"robustness-{split}.json", result)
    return result


def _correct(
    spoken: Sequence[tuple[CachedClip, str]],
    source: Callable[[CachedClip], Source],
    spotter: Spotter,
    report: Callable[..., None],
) -> NDArray[np.bool_]:
    """Say of every condition and clip whether the clip's word is recognised: (n_conditions, n_clips)."""
    correct = np.zeros((len(CONDITIONS), len(spoken)), dtype=bool)
    for first in range(0, len(spoken), BATCH):
        report(first, len(spoken))
        batch = spoken[first : first + BATCH]
        sources = [source(clip) for clip, _ in batch]
        for row, condition in zip(correct, CONDITIONS, strict=True):
            said = predict_words(spotter, [condition.change(one) for one in sources])
            row[first : first + BATCH] = [word == true for word, (_, true) in zip(said, batch, strict=True)]
    report(len(spoken), len(spoken))
    return correct


def predict_words(spotter: Spotter, clips: Sequence[Waveform]) -> list[str]:
    """Predict waveforms of any length at the spotter's rate, in their order; those of one length go together."""
    fitted = [fit_length(clip, spotter.clip_length, spotter.win_length)[0] for clip in clips]
    order = sorted(range(len(fitted)), key=lambda i: len(fitted[i]))
    words = [""] * len(fitted)
    for i, prediction in zip(order, spotter.predict_clips([fitted[i] for i in order]), strict=True):
        words[i] = prediction.word
    return words


def read_unheard_noise(data: Path, sample_rate: int) -> list[Waveform]:
    """Read the part of every noise recording that neither training nor validation uses, without silent ones."""
    return list(read_noises(data, read_corpus(data).noise, UNHEARD_SPAN, sample_rate).values())


class Talkers:
    """The clips of a split as babble for one of them. MissingError where one speaker says it all."""

    def __init__(self, clips: Sequence[CachedClip], data: Path, spotter: Spotter) -> None:
        self.data, self.spotter = data, spotter
        self.by_speaker: dict[str, list[CachedClip]] = defaultdict(list)
        for clip in clips:
            self.by_speaker[clip.speaker].append(clip)
        self.most = min(TALKERS, len(self.by_speaker) - 1)
        if self.most < 1:
            raise MissingError(f"{data}: recordings of one speaker; babble needs others, name a larger split")

    def beside(self, clip: CachedClip, rng: np.random.Generator) -> list[Waveform]:
        """Draw others than a clip's speaker, and of each a clip of another word than its own, if there is one."""
        others = [speaker for speaker in self.by_speaker if speaker != clip.speaker]
        waveforms = []
        for i in rng.choice(len(others), self.most, replace=False):
            said = self.by_speaker[others[i]]
            said = [one for one in said if one.word != clip.word] or said
            name = said[int(rng.integers(len(said)))].name
            waveforms.append(read_clip(self.data / name, self.spotter).waveform)
        return waveforms


def _stream(seed: int, clip: str, kind: str) -> np.random.Generator:
    return rng_for(seed, "robustness", kind, clip)
