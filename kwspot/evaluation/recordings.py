"""A spotter on long recordings with transcripts: false alarms per hour, and the share of the words said that it finds.

    recordings -> posteriors, block by block -> a detector for every threshold -> counts, a line a recording

    detection     an event whose keyword is said: where it sounds, within 0.5 s, if its times are known; else as many
                  events of a keyword in a recording as it is said there
    false alarm   any other event, per hour of recordings (FA/h) with Garwood's exact 95 % interval for a Poisson count
    recall        detections over keywords said

Every recording becomes a line of a file, so a run that was stopped goes on with the next recording, and memory does not
grow with their length or number.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwspot.audio.blocks import file_blocks
from kwspot.audio.reading import AudioError
from kwspot.corpus.layout import VALIDATION
from kwspot.corpus.recordings import Recording, read_recordings
from kwspot.errors import MissingError
from kwspot.evaluation.false_alarms import at_rate, models_of
from kwspot.evaluation.metrics import poisson_interval
from kwspot.experiments.runs import RECORDINGS, Run
from kwspot.files import digest_of, write_json, write_text
from kwspot.inference.detector import DetectionSettings, Event, Smoother, keywords_of
from kwspot.inference.pipeline import detection_settings, detector_of
from kwspot.inference.streaming import StreamingModel

TOLERANCE_S = 0.5
THRESHOLDS = [
    *(round(0.02 * i, 2) for i in range(10, 45)),
    *(round(0.004 * i, 3) for i in range(225, 245)),
    *(round(0.001 * i, 3) for i in range(980, 1000)),
]
SMOOTHING_MS = (80.0, 160.0, 240.0, 320.0, 400.0)  # tried where an operating point is chosen
AROUND = (1.0, 3.0, 10.0)  # times the rate asked for, smoothing is chosen by: at low rates a word or two would decide
RATES = (0.1, 0.5, 1.0, 10.0)  # false alarms an hour, of the operating points that are reported
BLOCK_S = 10.0
WORST = 10  # false alarms that are named
EVERYTHING = "all"  # split: every recording

Counts = NDArray[np.int64]


def judge(events: Sequence[Event], recording: Recording, keywords: Sequence[str]) -> tuple[Counter[str], list[Event]]:
    """Return how many events of each word were said, and the events that were not: false alarms."""
    left, spans = Counter(recording.keywords_said(keywords)), recording.keywords_sounding(keywords)
    found: Counter[str] = Counter()
    alarms = []
    for event in events:
        if recording.words is None:
            is_said = found[event.word] < left[event.word]
        else:
            near = [word for word in spans if word.word == event.word and is_near(event, word.start_s, word.end_s)]
            is_said = bool(near)
            spans = [word for word in spans if not (near and word is near[0])]
        if is_said:
            found[event.word] += 1
        else:
            alarms.append(event)
    return found, alarms


def is_near(event: Event, start_s: float, end_s: float) -> bool:
    """Say whether an event lies where something sounds, or within TOLERANCE_S of it."""
    return event.start_s <= end_s + TOLERANCE_S and event.end_s >= start_s - TOLERANCE_S


def search(
    model: StreamingModel,
    path: Path,
    recording: Recording,
    tried: Sequence[DetectionSettings],
    thresholds: Sequence[float] = THRESHOLDS,
) -> dict[str, Any]:
    """Search a recording with every setting at every threshold; AudioError if it is no usable audio.

    `counts` holds for every setting the words found and the false alarms by word, each a number a threshold; `worst`
    the false alarms with the highest posteriors: start in seconds, word, posterior.
    """
    step_s, keywords = model.step_length / model.sample_rate, keywords_of(model.labels)
    smoothers = {ms: Smoother(ms, step_s) for ms in {settings.smoothing_ms for settings in tried}}
    detectors = [[detector_of(model, replace(settings, threshold=t)) for t in thresholds] for settings in tried]
    events: list[list[list[Event]]] = [[[] for _ in thresholds] for _ in tried]
    model.reset()
    n_samples = 0
    for block in _with_end(file_blocks(path, model.sample_rate, BLOCK_S), model.span_length):
        n_samples += len(block)
        rows = model.feed(block)
        smoothed = {ms: smoother.feed(rows) for ms, smoother in smoothers.items()}
        for settings, row, found in zip(tried, detectors, events, strict=True):
            for detector, own in zip(row, found, strict=True):
                own += detector.feed(smoothed[settings.smoothing_ms])
    counts: list[dict[str, dict[str, list[int]]]] = []
    worst: list[Event] = []
    for row, found in zip(detectors, events, strict=True):
        judged = [judge([*own, *d.finish()], recording, keywords) for d, own in zip(row, found, strict=True)]
        worst = worst or sorted(judged[0][1], key=lambda event: -event.posterior)[:WORST]
        alarms = [Counter(event.word for event in alarms) for _, alarms in judged]
        counts.append({"found": _by_word([hits for hits, _ in judged]), "alarms": _by_word(alarms)})
    return {
        "name": recording.name,
        "seconds": (n_samples - model.span_length) / model.sample_rate,
        "said": Counter(recording.keywords_said(keywords)),
        "counts": counts,
        "worst": [[round(event.start_s, 2), event.word, round(event.posterior, 4)] for event in worst],
    }


def _with_end(blocks: Iterable[NDArray[np.float32]], n_samples: int) -> Iterator[NDArray[np.float32]]:
    """Let silence follow until the last word has left the model's span."""
    yield from blocks
    yield np.zeros(n_samples, np.float32)


def _by_word(counted: Sequence[Counter[str]]) -> dict[str, list[int]]:
    return {word: [one[word] for one in counted] for word in sorted(set().union(*counted))}


@dataclass
class Total:
    """What recordings of one kind come to with one setting: `found` and `alarms` hold a count a threshold, by word."""

    thresholds: Sequence[float]
    seconds: float = 0.0
    n_recordings: int = 0
    said: Counter[str] = field(default_factory=Counter)
    found: dict[str, Counts] = field(default_factory=dict)
    alarms: dict[str, Counts] = field(default_factory=dict)

    def add(self, line: dict[str, Any], setting: int) -> None:
        """Add what was counted in a recording."""
        self.seconds += line["seconds"]
        self.n_recordings += 1
        self.said.update(line["said"])
        for mine, name in ((self.found, "found"), (self.alarms, "alarms")):
            for word, numbers in line["counts"][setting][name].items():
                mine[word] = self._of(mine, word) + np.array(numbers)

    def _of(self, counts: dict[str, Counts], word: str) -> Counts:
        return counts.get(word, np.zeros(len(self.thresholds), np.int64))

    @property
    def hours(self) -> float:
        """Length of the recordings."""
        return self.seconds / 3600

    def curve(self, word: str | None = None) -> list[list[float]]:
        """Return [threshold, false alarms per hour, FRR as a fraction] of one keyword or all, thresholds rising."""
        words = {*self.said, *self.alarms} if word is None else {word}
        alarms, found = (
            np.sum([self._of(counts, one) for one in words] or [self._of({}, "")], axis=0)
            for counts in (self.alarms, self.found)
        )
        said = max(1, sum(self.said[one] for one in words))
        return [
            [t, float(n / max(self.hours, 1e-9)), float(1 - hits / said)]
            for t, n, hits in zip(self.thresholds, alarms, found, strict=True)
        ]

    def at(self, threshold: float) -> dict[str, Any]:
        """Return what comes of one of the thresholds."""
        i = self.thresholds.index(threshold)
        n_alarms = int(sum(counts[i] for counts in self.alarms.values()))
        return {
            "hours": self.hours,
            "recordings": self.n_recordings,
            "false_alarms": n_alarms,
            "per_hour": n_alarms / max(self.hours, 1e-9),
            "interval": [end / max(self.hours, 1e-9) for end in poisson_interval(n_alarms)],
            "said": sum(self.said.values()),
            "found": int(sum(counts[i] for counts in self.found.values())),
            "words": {
                word: {
                    "said": self.said[word],
                    "found": int(self._of(self.found, word)[i]),
                    "alarms": int(self._of(self.alarms, word)[i]),
                }
                for word in sorted({*self.said, *self.alarms})
            },
        }


def partial_name(name: str, folder: Path, split: str) -> str:
    """Name the file that keeps what is done of a model (its name or path) in a folder, beside that of other folders."""
    return f"{Path(name).stem}-{digest_of([name, str(folder.resolve()), split])[:8]}.partial.jsonl"


def measure_run(run: Run, folder: Path, *, split: str = EVERYTHING, **asked: Any) -> dict[str, Any]:
    """Measure a run's model files as `measure_recordings` does and keep it as `recordings-<split>.json`; return it.

    MissingError without a model file.
    """
    record = {
        mode: measure_recordings(
            model, folder, split=split, partial=run.path / partial_name(f"{RECORDINGS}-{mode}", folder, split), **asked
        )
        for mode, model in models_of(run).items()
    }
    write_json(run.path / f"{RECORDINGS}-{split}.json", record)
    return record


def measure_recordings(
    model: StreamingModel,
    folder: Path,
    *,
    transcripts: Path | None = None,
    split: str = EVERYTHING,
    per_hour: float = 1.0,
    partial: Path,
    report: Callable[..., None] = lambda done, total, message="": None,
) -> dict[str, Any]:
    """Measure a model on the recordings of a folder, or on those of the speakers of a split; return the record.

    On validation the operating point is chosen: the smoothing with the highest recall at `per_hour` false alarms an
    hour and some more in recordings with transcripts, and its threshold for `per_hour`. Elsewhere it is the model's
    own. `partial` keeps what is done until all is. MissingError if there are no recordings.
    """
    recordings = [one for one in read_recordings(folder, transcripts) if split in (EVERYTHING, one.split)]
    if not recordings:
        raise MissingError(f"{folder}: no recordings of speakers of the {split} split; leave --split out to use all")
    own = detection_settings(model.metadata)
    tried = [replace(own, smoothing_ms=ms) for ms in SMOOTHING_MS] if split == VALIDATION else [own]
    thresholds = sorted({*THRESHOLDS, own.threshold})
    lines, skipped = _lines(model, folder, recordings, tried, thresholds, partial, report)
    in_speech = {one.name for one in recordings if one.text is not None} or {one.name for one in recordings}
    of_speech = [line for line in lines if line["name"] in in_speech]
    by_setting = [_total(of_speech, i, thresholds) for i in range(len(tried))]
    best, settings = 0, own
    if split == VALIDATION:
        curves = [total.curve() for total in by_setting]
        best = min(range(len(tried)), key=lambda i: cost(curves[i], per_hour))
        settings = replace(tried[best], threshold=at_rate(curves[best], per_hour)[0])
    speech, sources = by_setting[best], defaultdict(list)
    for recording, line in zip([one for one in recordings if one.name not in dict(skipped)], lines, strict=True):
        sources[recording.source].append(line)
    measured = {name: _total(found, best, thresholds) for name, found in sorted(sources.items())}
    worst = sorted(([line["name"], *alarm] for line in lines for alarm in line["worst"]), key=lambda one: -one[3])
    record = {
        "model": model.name,
        "folder": folder.name,
        "split": split,
        "settings": asdict(settings),
        "target_per_hour": per_hour,
        "recordings": len(recordings),
        "transcripts": sum(one.text is not None for one in recordings),
        "speech": speech.at(settings.threshold),
        "sources": {name: total.at(settings.threshold) for name, total in measured.items()},
        "points": {f"{rate:g}": at_rate(speech.curve(), rate) for rate in RATES},
        "curve": _rounded(speech.curve()),
        "curves": {word: _rounded(speech.curve(word)) for word in keywords_of(model.labels) if speech.said[word]},
        "worst": worst[:WORST],
        "skipped": skipped,
    }
    partial.unlink(missing_ok=True)
    return record


def cost(curve: Sequence[Sequence[float]], per_hour: float) -> tuple[float, float]:
    """Return by how much the rate of false alarms is missed, and the FRR summed over the rates around it."""
    frr = sum(at_rate(curve, times * per_hour)[2] for times in AROUND)
    return max(at_rate(curve, per_hour)[1] - per_hour, 0), frr


def _rounded(curve: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[round(value, 5) for value in point] for point in curve]


def _total(lines: Sequence[dict[str, Any]], setting: int, thresholds: Sequence[float]) -> Total:
    total = Total(thresholds)
    for line in lines:
        total.add(line, setting)
    return total


def _lines(
    model: StreamingModel,
    folder: Path,
    recordings: Sequence[Recording],
    tried: Sequence[DetectionSettings],
    thresholds: Sequence[float],
    partial: Path,
    report: Callable[..., None],
) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """Search every recording that a run before has not; return the lines in order, and what is no usable audio."""
    deciding = {"model": model.metadata, "tried": [asdict(one) for one in tried], "thresholds": thresholds}
    of_this = digest_of({**deciding, "said": [asdict(one) for one in recordings]})
    done: dict[str, dict[str, Any]] = {}
    if partial.is_file():
        first, *rest = partial.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
        if first == of_this:
            with suppress(ValueError):  # a line that was cut off or damaged, and all after it, is searched again
                for line in map(json.loads, rest):
                    done[line["name"]] = line
    partial.parent.mkdir(parents=True, exist_ok=True)
    write_text(partial, "".join(f"{line}\n" for line in [of_this, *map(json.dumps, done.values())]))
    with partial.open("a", encoding="utf-8") as file:
        for i, recording in enumerate(recordings):
            report(i, len(recordings), recording.source)
            if recording.name not in done:
                try:
                    line = search(model, folder / recording.name, recording, tried, thresholds)
                except AudioError as error:
                    line = {"name": recording.name, "skipped": error.reason}
                except MissingError:  # a link that leads nowhere, or removed since it was listed
                    line = {"name": recording.name, "skipped": "no such file"}
                done[recording.name] = line
                file.write(json.dumps(line) + "\n")
                file.flush()
    report(len(recordings), len(recordings))
    lines = [done[recording.name] for recording in recordings]
    skipped = [[line["name"], line["skipped"]] for line in lines if "skipped" in line]
    return [line for line in lines if "skipped" not in line], skipped
