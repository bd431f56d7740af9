"""What the page answers, as values for JSON: models, predictions with their picture, comparisons, own words.

bytes of a sound -> loudest second -> Spotter -> word, posteriors, picture of waveform and log-mel frames (SVG)
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property, lru_cache
import io
from pathlib import Path
from threading import Lock
from typing import Any

from kwspot.audio.reading import LONGEST_S, Decoded, Waveform, as_wav, read_waveform, resample
from kwspot.corpus.layout import has_test_clips, random_test_clip
from kwspot.enrollment.clips import takes_of
from kwspot.enrollment.encoder import Encoder
from kwspot.enrollment.endpoints import endpoints, is_silent
from kwspot.enrollment.enroll import enroll_takes
from kwspot.enrollment.recording import refused
from kwspot.enrollment.voices import other_voices
from kwspot.errors import ConfigError, KwspotError, MissingError
from kwspot.evaluation.comparison import COLUMNS, choose_runs, notes, sort_rows, table_rows
from kwspot.files import written_ns
from kwspot.inference.detector import keywords_of
from kwspot.inference.expectation import estimate, expectation, purpose
from kwspot.inference.model_zoo import bundled_models, enrolled_models, enrolled_path, find_model, run_models
from kwspot.inference.pipeline import detection_settings
from kwspot.inference.spotter import Prediction, Spotter, open_once
from kwspot.inference.streaming import StreamingModel, open_model
from kwspot.reports.plots import plot_overlay
from kwspot.reports.results_table import shown
from kwspot.reports.sound import plot_prediction
from kwspot.reports.style import svg_source

DRAWING = Lock()  # matplotlib's style is one for all threads
CURVES = {"accuracy_validation": "Learning curves: accuracy", "loss_validation": "Learning curves: loss"}


@dataclass(frozen=True)
class Answers:
    """The answers of a page with these runs, this corpus, and a model chosen at first.

    Words are enrolled only for who sits at this machine: `enrolling`.
    """

    runs_dir: Path
    data: Path
    chosen: str
    enrolling: bool

    def names(self) -> list[str]:
        """List the models to choose from."""
        known = [found.name for found in [*bundled_models(), *run_models(self.runs_dir)]]
        return known if self.chosen in known else [self.chosen, *known]

    def models(self) -> dict[str, Any]:
        """Describe the models that can be opened, and what the page offers beside."""
        described = []
        for name in self.names():
            try:
                described.append({"name": name, **_described(self.spotter(name), self._live(name).metadata)})
            except (KwspotError, OSError):  # `kwspot models` names it
                continue
        return {
            "models": described, "chosen": self.chosen, "corpus": self.has_corpus, "enrolling": self.enrolling
        }  # fmt: skip

    @cached_property
    def has_corpus(self) -> bool:
        """Whether there is a test clip to draw; looked for once, as a corpus may hold a hundred thousand files."""
        return has_test_clips(self.data)

    def predict(self, content: bytes, name: str, title: str) -> dict[str, Any]:
        """Predict the bytes of a sound; AudioError if they are none."""
        spotter = self.spotter(name)
        return prediction_of(read_waveform(io.BytesIO(content), longest_s=LONGEST_S), title, spotter)

    def random_clip(self, name: str) -> dict[str, Any]:
        """Draw a test clip of the corpus and predict it: `sound` holds it as WAV in base64."""
        path, word = random_test_clip(self.data, self.spotter(name).labels)
        clip = read_waveform(path)
        sound = b64encode(as_wav(clip)).decode()
        return {"sound": sound, **prediction_of(clip, f"a test clip of “{word}”", self.spotter(name))}

    def open_model(self, name: str) -> StreamingModel:
        """Open a model for live sound, as its stream if it has one; MissingError for one not offered."""
        return copy(self._live(name))  # one file is open for all, and what each visitor said is the copy's

    def expected(self, name: str, threshold: float) -> dict[str, Any]:
        """Say what a threshold costs; ConfigError if it is no posterior."""
        if not 0 <= threshold <= 1:
            raise ConfigError(f"threshold: a number from 0 to 1 is needed, got {threshold:g}")
        return {"text": expectation(self._live(name).metadata, threshold)}

    def comparison(self, named: str = "") -> dict[str, Any]:
        """Return the results table of the finished runs as texts, and their learning curves.

        `named` holds parts of names, any of which a row's name has to have.
        """
        try:
            finished, _ = choose_runs(self.runs_dir)
        except MissingError:
            return {"columns": [], "rows": [], "pictures": [], "notes": "None yet: 'kwspot train NAME' makes one."}
        rows = sort_rows(table_rows(finished), "val-acc")
        if parts := named.casefold().split():
            rows = [row for row in rows if any(part in row.label.casefold() for part in parts)]
        columns = ["Model", *(column.title for column in COLUMNS)]
        if not rows:
            return {"columns": columns, "rows": [], "pictures": [], "notes": "No run has such a name."}
        cells = [[row.label, *shown(row)] for row in rows]
        pictures = [
            {"title": title, "source": drawn(lambda path, curve=curve: plot_overlay(rows, curve, path))}  # type: ignore[misc]
            for curve, title in CURVES.items()
        ]
        return {"columns": columns, "rows": cells, "pictures": pictures, "notes": " ".join(notes(rows))}

    def take(self, content: bytes) -> dict[str, Any]:
        """Look at a take of a word: its seconds; ConfigError says why it is no use."""
        take = read_waveform(io.BytesIO(content), longest_s=LONGEST_S)
        if is_silent(take.waveform):
            raise ConfigError("no word to be found; is the microphone muted?")
        if reason := refused(take.waveform, take.sample_rate):
            raise ConfigError(reason)
        start, end = endpoints(take.waveform, take.sample_rate)
        return {"seconds": (end - start) / take.sample_rate}

    def enroll(self, name: str, words: Mapping[str, list[str]], again: bool = False) -> dict[str, Any]:
        """Enroll words from takes (WAV in base64) under a name; the model is offered from then on.

        `again` replaces the model of this name.
        """
        if not self.enrolling:
            raise ConfigError("words can be enrolled only on the machine that serves this page")
        path = enrolled_path(self.runs_dir, name)
        if path.exists() and not again:
            raise ConfigError(f"there is a model '{name}' already; give this one another name")
        began_with = written_ns(path)
        encoder = Encoder(threads=1)
        rate = encoder.sample_rate
        clips = {word: [_waveform(sound, rate) for sound in sounds] for word, sounds in words.items()}
        takes = takes_of(clips, rate, rate)
        enrolled = enroll_takes([*takes, *other_voices(takes, encoder)], encoder)
        enrolled.replace(path, began_with)
        expected, spotting = enrolled.metadata["enrollment"]["expected"], enrolled.metadata["spotting"]
        said = f"Expected: {estimate(expected)}."
        if expected["n"]:
            said = f"{said} Takes of one voice know one voice."
        if enrolled.spoken:
            said = f"{said} Synthetic voices say {', '.join(enrolled.spoken)} too."
        return {"text": f"{said} Threshold {spotting['threshold']:g}."}

    def file_of(self, name: str) -> Path:
        """Return the file of an enrolled model; MissingError for any other."""
        found = {model.name: model.path for model in enrolled_models(self.runs_dir)}
        if name not in found or not self.enrolling:
            raise MissingError(f"{name}: no enrolled model")
        return found[name]

    def spotter(self, name: str) -> Spotter:
        """Open a model that is offered, once for as long as its file does not change; MissingError for any other."""
        return open_once(self._offered(name), name, threads=1)

    def _live(self, name: str) -> StreamingModel:
        path = self._offered(name)
        return _opened(name, self.runs_dir, path.stat().st_mtime_ns if path.is_file() else 0)

    def _offered(self, name: str) -> Path:
        if name not in self.names():
            raise MissingError(f"{name}: no such model")
        return find_model(name, self.runs_dir).path


@lru_cache(maxsize=16)
def _opened(name: str, runs_dir: Path, _changed: int) -> StreamingModel:
    """Open a model for live sound, once for as long as its file does not change."""
    return open_model(name, runs_dir, streaming=None, threads=1)


def _waveform(sound: str, sample_rate: int) -> Waveform:
    """Decode a WAV in base64: (n_samples,) at the rate wanted."""
    decoded = read_waveform(io.BytesIO(b64decode(sound, validate=True)), longest_s=LONGEST_S)
    return resample(decoded.waveform, decoded.sample_rate, sample_rate)


def _described(spotter: Spotter, live: Mapping[str, Any]) -> dict[str, Any]:
    """Say of a model what a person chooses it by; `live` is the metadata of what hears live sound."""
    known, words = spotter.metadata, keywords_of(spotter.labels)
    facts = [
        "your own words" if "enrollment" in known else f"{len(words)} words",
        f"{known['n_parameters']:,} parameters" if known.get("n_parameters") else "",
        f"{spotter.path.stat().st_size / 1e6:.1f} MB",
        f"{known['accuracy_test']:.1%} of test clips right" if known.get("accuracy_test") else "",
        purpose(live),
    ]
    return {"about": " · ".join(filter(None, facts)), "words": words, "threshold": detection_settings(live).threshold}


def prediction_of(decoded: Decoded, title: str, spotter: Spotter) -> dict[str, Any]:
    """Return the prediction, a sentence on the sound, and the picture of both."""
    predicted: list[tuple[Prediction, float]] = []
    picture = drawn(lambda path: predicted.append(plot_prediction(decoded, spotter, path, beside=False)))
    ((prediction, start_s),) = predicted
    part = f", the loudest part from {start_s:.2f} s" if start_s else ""
    text = f"{title}, {len(decoded.waveform) / decoded.sample_rate:.2f} s{part}"
    return {**prediction.to_dict(), "text": text, "picture": picture}


def drawn(draw: Callable[[Path], None]) -> str:
    """Return the SVG that `draw` writes as the source of an image; one thread draws at a time."""
    with DRAWING:
        return svg_source(draw)
