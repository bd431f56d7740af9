"""`kwspot predict`."""

import json
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import DATA, RUNS, AsCsv, AsJson, DataDir, ModelName, Quiet, RawRate, RunsDir, only_one
from kwspot.errors import ConfigError, KwspotError
from kwspot.names import escaped

if TYPE_CHECKING:
    from kwspot.audio.inputs import Source
    from kwspot.inference.spotter import Prediction, Spotter

SCHEMA = 1  # of a line of --json


def predict(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH", help="Files, folders, patterns, @LIST, @- or - (standard input)."),
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Predict a random test clip of the corpus.")] = False,
    model: ModelName = None,
    top: Annotated[int, typer.Option(min=1, help="How many words to print per clip.")] = 1,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="A word with a lower posterior becomes 'unknown'.")
    ] = 0.0,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the clip and what was predicted, as .svg or .png.")
    ] = None,
    raw_rate: RawRate = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first file without a result.")] = False,
    quiet: Quiet = False,
    data: DataDir = DATA,
    runs: RunsDir = RUNS,
) -> None:
    """Predict which word a clip holds, with its posterior.

    Takes WAV, FLAC, OGG and MP3 of any rate and channel count; of a long
    recording the loudest part is used. Prints one line per file, in order:
    path, word, posterior, tab-separated in a pipe. A file that fails is
    reported on stderr (with --json as an object with "error"), the others are
    still predicted, and the exit code is 1.

    Examples:

      kwspot predict x.wav

      kwspot predict --top 3 --model lstm clips/

      kwspot predict --threshold 0.8 x.wav

      kwspot predict --random

      kwspot predict --plot x.svg x.wav

      sox x.mp3 -t wav - | kwspot predict -

      find . -name '*.wav' | kwspot predict @- --json | jq .word
    """
    if bool(paths) == random:
        raise ConfigError("predict needs audio files, or --random for a test clip of the corpus; not both")
    form = console.chosen("columns", json=as_json, csv=as_csv)
    if plot:
        from kwspot.reports.style import check_form

        check_form(plot)
    from kwspot.audio.inputs import Pipe, Source, expand
    from kwspot.corpus.layout import random_test_clip
    from kwspot.inference.batch import predict_all
    from kwspot.inference.spotter import Spotter

    spotter = Spotter.load(model, runs_dir=runs)
    if random:
        path, true_word = random_test_clip(data, spotter.labels)
        sources, known = iter([Source(str(path), path)]), {"true_word": true_word}
    else:
        sources, known = expand(paths or (), raw_rate), {}
    if plot:
        (source,) = only_one(sources, "plot")
        if isinstance(source.file, Pipe):
            raise ConfigError("--plot: draws a file, and no pipe")
        sources = iter([source])
    lines = Lines(spotter.name, form, paths or (), known, min(top, len(spotter.labels)))
    n_failed = 0
    with console.progress("predict", unit="clips", quiet=quiet or sys.stdout.isatty(), brief=True) as report:
        for n_done, (source, result) in enumerate(predict_all(spotter, sources, top, threshold)):
            report(n_done, None)
            if isinstance(result, KwspotError):
                n_failed += 1
                lines.failure(source.name, result)
                if fail_fast:
                    break
            else:
                lines.result(source.name, result)
                if plot:
                    _draw(source, spotter, plot, threshold)
    if n_failed:
        raise typer.Exit(KwspotError.exit_code)


def _draw(source: "Source", spotter: "Spotter", plot: Path, threshold: float) -> None:
    from kwspot.audio.reading import LONGEST_S, read_waveform
    from kwspot.reports.sound import plot_prediction

    assert isinstance(source.file, Path)
    plot_prediction(read_waveform(source.file, longest_s=LONGEST_S), spotter, plot, threshold=threshold)
    console.note(f"wrote {plot}")


class Lines:
    """Prints one line per source: JSON, CSV, columns on a terminal, tab-separated values elsewhere."""

    def __init__(
        self, model: str, form: str, paths: list[str] | tuple[str, ...], known: dict[str, str], n_top: int = 1
    ) -> None:
        self.model, self.form, self.known = model, form, known
        self.width = max(map(len, paths), default=0) if sys.stdout.isatty() else None
        if form == "csv":
            more = [f"{key}_{i}" for i in range(2, n_top + 1) for key in ("word", "posterior")]
            self._line(console.csv_line(["path", "word", "posterior", *more, "seconds", *known, "model"]))

    def result(self, name: str, prediction: "Prediction") -> None:
        """Print what was predicted."""
        if self.form == "csv":
            more = [part for word, posterior in prediction.top[1:] for part in (word, f"{posterior:.6f}")]
            cells = [prediction.word, f"{prediction.posterior:.6f}", *more]
            self._line(console.csv_line([name, *cells, f"{prediction.seconds:.4f}", *self.known.values(), self.model]))
            return
        if self.form == "json":
            self._object(name, **prediction.to_dict(), **self.known)
            return
        name = escaped(name)
        cells = [part for word, posterior in prediction.top for part in (word, f"{posterior:.2f}")]
        cells[0] = prediction.word
        cells += [f"{key.replace('_', ' ')}: {value}" for key, value in self.known.items()]
        if self.width is not None:
            self.width = max(self.width, len(name))
            name = name.ljust(self.width)
            cells = [cell.ljust(8) if i % 2 == 0 else cell for i, cell in enumerate(cells)]
        self._line(("\t" if self.width is None else "  ").join([name, *cells]))

    def failure(self, name: str, error: KwspotError) -> None:
        """Print why a file failed."""
        if self.form == "json":
            self._object(name, error=str(error))
        else:
            console.error(str(error))

    def _object(self, name: str, **values: object) -> None:
        self._line(json.dumps({"schema": SCHEMA, "path": name, **values, "model": self.model}))

    def _line(self, text: str) -> None:
        console.say(text)
        sys.stdout.flush()
