"""False rejections and false alarms of a spotter in long audio.

    FRR           share of the keywords without an event of their word
    wrong         of those, the ones with an event of another keyword
    false alarm   an event where no keyword was said, or the second one of a word said once; counted per hour (FA/h)

An event belongs to the utterance in which its middle lies, or within 0.25 s of it. The curve sweeps the threshold over
posteriors that were computed once; its points come as [threshold, false alarms per hour, FRR, wrong], the last two
as fractions of the keywords (the DET curve of Martin et al., Eurospeech 1997, with false alarms in an hour, as wake
words are measured).
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwspot.audio.reading import Waveform
from kwspot.corpus.layout import VALIDATION
from kwspot.errors import MissingError
from kwspot.evaluation.long_audio import Assembly, Spoken, assemble
from kwspot.experiments.runs import MODEL, STREAM, STREAMED, WINDOWS, Run, load_settings
from kwspot.features.cache import open_cache
from kwspot.features.dataset import resolve_task
from kwspot.files import write_json
from kwspot.inference.detector import DetectionSettings, Event, Smoother
from kwspot.inference.pipeline import detection_settings, detector_of, posteriors_of
from kwspot.inference.spotter import Spotter
from kwspot.inference.streaming import SlidingWindow, Stream, StreamingModel

TOLERANCE_S = 0.25
THRESHOLDS = [round(0.01 * i, 2) for i in range(20, 80)] + [round(0.002 * i, 3) for i in range(400, 500)]
COARSE = THRESHOLDS[::5]  # enough to choose the other settings by
SMOOTHING_MS = (80.0, 160.0, 240.0, 320.0, 400.0)  # tried on validation
REFRACTORY_MS = (400.0, 800.0)
WORST = 10  # sources of false alarms that are named
COVERED = 0.9  # of the words' beginnings, and of their ends
LONGEST_MARGIN_S = 0.5


@dataclass(frozen=True)
class Outcome:
    """What became of the keywords and of the events of one long sound."""

    missed: list[Spoken]
    wrong: list[tuple[Spoken, str]]  # missed, with the word of the event
    false_alarms: list[tuple[str, str]]  # word of the event, clip or `noise`
    detected: list[tuple[Spoken, Event]]


def match(events: Sequence[Event], spoken: Sequence[Spoken], keywords: Sequence[str]) -> Outcome:
    """Match events to what was said, both in order of time: one event of its word detects a keyword."""
    starts = [said.start_s - TOLERANCE_S for said in spoken]
    detected: dict[int, Event] = {}
    wrong: dict[int, str] = {}
    false_alarms = []
    for event in events:
        middle = (event.start_s + event.end_s) / 2
        i = bisect_right(starts, middle) - 1
        said = spoken[i] if i >= 0 and middle <= spoken[i].end_s + TOLERANCE_S else None
        if said is not None and said.word == event.word and i not in detected:
            detected[i] = event
        elif said is not None and said.word in keywords and said.word != event.word and i not in wrong:
            wrong[i] = event.word
        else:
            false_alarms.append((event.word, said.clip if said else "noise"))
    false_alarms += [(word, spoken[i].clip) for i, word in wrong.items() if i in detected]  # beside its own
    missed = [i for i, said in enumerate(spoken) if said.word in keywords and i not in detected]
    return Outcome(
        [spoken[i] for i in missed],
        [(spoken[i], wrong[i]) for i in missed if i in wrong],
        false_alarms,
        [(spoken[i], event) for i, event in detected.items()],
    )


@dataclass(frozen=True)
class Trial:
    """The posteriors (n_rows, n_classes) of a long sound, and what is in it."""

    streaming_model: StreamingModel
    posteriors: NDArray[np.float32]
    assembly: Assembly
    keywords: tuple[str, ...]

    @property
    def hours(self) -> float:
        """Length of the sound."""
        return self.assembly.seconds / 3600

    @property
    def n_keywords(self) -> int:
        """How many keywords are said."""
        return sum(said.word in self.keywords for said in self.assembly.spoken)

    def smoothed(self, settings: DetectionSettings) -> NDArray[Any]:
        """Return the smoothed posteriors."""
        return Smoother(
            settings.smoothing_ms, self.streaming_model.step_length / self.streaming_model.sample_rate
        ).feed(self.posteriors)

    def outcome(self, smoothed: NDArray[Any], settings: DetectionSettings) -> Outcome:
        """Say what comes of one threshold."""
        detector = detector_of(self.streaming_model, settings)
        return match([*detector.feed(smoothed), *detector.finish()], self.assembly.spoken, self.keywords)

    def point(self, smoothed: NDArray[Any], settings: DetectionSettings) -> list[float]:
        """Return a point of the curve: threshold, false alarms per hour, FRR and wrong as fractions."""
        outcome, n = self.outcome(smoothed, settings), self.n_keywords
        rate = len(outcome.false_alarms) / self.hours
        return [float(settings.threshold), rate, len(outcome.missed) / n, len(outcome.wrong) / n]

    def curve(self, settings: DetectionSettings, thresholds: Sequence[float] = THRESHOLDS) -> list[list[float]]:
        """Sweep the threshold, rising."""
        smoothed = self.smoothed(settings)
        return [self.point(smoothed, replace(settings, threshold=t)) for t in thresholds]


def at_rate(curve: Sequence[Sequence[float]], per_hour: float) -> list[float]:
    """Return the point with the lowest FRR among those with at most `per_hour` false alarms per hour.

    Without one, the point with the fewest false alarms.
    """
    allowed = [point for point in curve if point[1] <= per_hour]
    best = min(allowed, key=lambda p: (p[2], p[0])) if allowed else min(curve, key=lambda p: (p[1], p[2]))
    return list(best)


def choose(trial: Trial, per_hour: float) -> DetectionSettings:
    """Choose smoothing, refractory period and threshold with the lowest FRR at a rate of false alarms per hour."""

    def cost(settings: DetectionSettings) -> tuple[float, float, float]:
        point = at_rate(trial.curve(settings, COARSE), per_hour)
        return max(point[1] - per_hour, 0), point[2], point[0]

    tried = [DetectionSettings(smoothing_ms=s, refractory_ms=r) for s, r in product(SMOOTHING_MS, REFRACTORY_MS)]
    best = min(tried, key=cost)
    return replace(best, threshold=at_rate(trial.curve(best), per_hour)[0])


def with_margins(trial: Trial, settings: DetectionSettings) -> DetectionSettings:
    """Set what events lack at both ends, so that nine of ten cover the beginning of their word, nine of ten its end.

    A word sounds where its clip is at most 25 dB below its loudest 10 ms.
    """
    bare = replace(settings, before_ms=0.0, after_ms=0.0)
    before, after = [0.0], [0.0]
    for said, event in trial.outcome(trial.smoothed(bare), bare).detected:
        start_s, end_s = trial.assembly.sounding(said)
        before.append(event.start_s - start_s)
        after.append(end_s - event.end_s)
    least, most = 0.0, 1000 * LONGEST_MARGIN_S
    margins = [float(np.clip(1000 * np.quantile(lacking, COVERED), least, most).round()) for lacking in (before, after)]
    return replace(bare, before_ms=margins[0], after_ms=margins[1])


def measure_false_alarms(
    run: Run,
    *,
    split: str,
    data: Path,
    hours: float,
    snr_db: float,
    per_hour: float,
    seed: int = 1,
    report: Callable[..., None] = lambda done, total, message="": None,
) -> dict[str, Any]:
    """Measure a run's model files in long audio and write `false-alarms-<split>.json` beside them; return it.

    On validation the settings of detection are chosen, elsewhere those that the model files hold are used.
    MissingError without recordings or without a model file.
    """
    experiment = load_settings(run)
    cache = open_cache(data, experiment.front_end)
    keywords = resolve_task(experiment.task, cache, classes=run.record["classes"]).keywords
    assembly = assemble(
        cache.clips, keywords, data=data, front_end=experiment.front_end, split=split, hours=hours, snr_db=snr_db,
        seed=seed,
    )  # fmt: skip
    streaming_models = models_of(run)
    spoken, held_out = assembly.spoken, experiment.train.held_out or []
    record = {
        "split": split,
        "corpus": {"name": cache.meta["name"], "digest": cache.meta["corpus_digest"]},
        "seed": seed,
        "hours": assembly.seconds / 3600,
        "snr_db": snr_db,
        "noises": list(assembly.noises),
        "n_keywords": sum(said.word in keywords for said in spoken),
        "n_others": sum(said.word not in keywords for said in spoken),
        "held_out": held_out,
        "n_held_out": sum(said.word in held_out for said in spoken),
        "n_clips": len({said.clip for said in spoken}),
        "n_speakers": len({said.speaker for said in spoken}),
        "target_per_hour": per_hour,
    }
    for name, streaming_model in streaming_models.items():
        trial = Trial(
            streaming_model, posteriors_of(streaming_model, _reported(assembly, report, name)), assembly, keywords
        )
        record[name] = _measured(trial, per_hour, held_out, chosen=split == VALIDATION)
    write_json(run.path / f"false-alarms-{split}.json", record)
    return record


def models_of(run: Run) -> dict[str, StreamingModel]:
    """Open the model files of a run for long sound, by the way they hear it; MissingError without one."""
    if not (run.path / MODEL).is_file():
        raise MissingError(f"{run.path / MODEL}: not there; 'kwspot export {run.id}' writes it")
    models: dict[str, StreamingModel] = {WINDOWS: SlidingWindow(Spotter(run.path / MODEL, name=run.id, threads=1))}
    if (run.path / STREAM).is_file():
        models[STREAMED] = Stream(run.path / STREAM, name=run.id)
    return models


def _reported(assembly: Assembly, report: Callable[..., None], way: str) -> Iterator[Waveform]:
    for i, block in enumerate(assembly.blocks()):
        report(i, len(assembly.spoken), way)
        yield block


def _measured(trial: Trial, per_hour: float, held_out: Sequence[str], *, chosen: bool) -> dict[str, Any]:
    """Return settings, curve, the points at their threshold and at the rate, and what goes wrong there."""
    metadata = trial.streaming_model.metadata
    settings = with_margins(trial, choose(trial, per_hour)) if chosen else detection_settings(metadata)
    curve = trial.curve(settings)
    smoothed = trial.smoothed(settings)
    outcome = trial.outcome(smoothed, settings)
    spoken = Counter(said.word for said in trial.assembly.spoken if said.word in trial.keywords)
    missed = Counter(said.word for said in outcome.missed)
    words = {said.clip: said.word for said in trial.assembly.spoken}
    n_new = sum(words.get(source) in held_out for _, source in outcome.false_alarms)
    sources = Counter((word, words.get(source, source)) for word, source in outcome.false_alarms)
    return {
        "settings": asdict(settings),
        "chosen": chosen or bool(metadata.get("spotting")),
        "curve": [[round(value, 5) for value in point] for point in curve],
        "at_threshold": trial.point(smoothed, settings),
        "at_target": at_rate(curve, per_hour),
        "frr_by_third": _by_third(trial, outcome),
        "frr": {word: missed[word] / spoken[word] for word in trial.keywords if spoken[word]},
        "false_alarms_held_out": n_new,
        "false_alarms": [[word, said, n] for (word, said), n in sources.most_common(WORST)],
    }


def _by_third(trial: Trial, outcome: Outcome) -> list[float]:
    """Return the FRR in each third of the time: a state that drifts shows here."""

    def third(said: Spoken) -> int:
        return min(2, int(3 * said.start_s / trial.assembly.seconds))

    spoken = Counter(third(said) for said in trial.assembly.spoken if said.word in trial.keywords)
    missed = Counter(third(said) for said in outcome.missed)
    return [missed[i] / max(1, spoken[i]) for i in range(3)]
