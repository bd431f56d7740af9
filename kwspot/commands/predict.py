"""`kwspot predict`."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import DATA, RUNS, DataDir, ModelName, RawRate, RunsDir
from kwspot.errors import ConfigError, KwspotError

if TYPE_CHECKING:
    from kwspot.inference.spotter import Prediction

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
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per file.")] = False,
    raw_rate: RawRate = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first file without a result.")] = False,
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

      sox x.mp3 -t wav - | kwspot predict -

      find . -name '*.wav' | kwspot predict @- --json | jq .word
    """
    if bool(paths) == random:
        raise ConfigError("predict needs audio files, or --random for a test clip of the corpus; not both")
    from kwspot.audio.inputs import Source, expand
    from kwspot.corpus.layout import random_test_clip
    from kwspot.inference.batch import predict_all
    from kwspot.inference.spotter import Spotter

    spotter = Spotter.load(model, runs_dir=runs)
    if random:
        path, true_word = random_test_clip(data, spotter.labels)
        sources, known = iter([Source(str(path), path)]), {"true_word": true_word}
    else:
        sources, known = expand(paths or (), raw_rate), {}
    lines = Lines(spotter.name, as_json, paths or (), known)
    n_failed = 0
    for source, result in predict_all(spotter, sources, top, threshold):
        if isinstance(result, KwspotError):
            n_failed += 1
            lines.failure(source.name, result)
            if fail_fast:
                break
        else:
            lines.result(source.name, result)
    if n_failed:
        raise typer.Exit(KwspotError.exit_code)


class Lines:
    """Prints one line per source: JSON, columns on a terminal, tab-separated values elsewhere."""

    def __init__(self, model: str, as_json: bool, paths: list[str] | tuple[str, ...], known: dict[str, str]) -> None:
        self.model, self.as_json, self.known = model, as_json, known
        self.width = max(map(len, paths), default=0) if sys.stdout.isatty() else None
        # A path may hold bytes that are no UTF-8: they go out as they came; JSON is written in ASCII.
        sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]

    def result(self, name: str, prediction: "Prediction") -> None:
        """Print what was predicted."""
        if self.as_json:
            top = [{"word": word, "posterior": round(posterior, 6)} for word, posterior in prediction.top]
            said = {"word": prediction.word, "posterior": top[0]["posterior"]}
            self._object(name, **said, top=top, seconds=round(prediction.seconds, 4), **self.known)
            return
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
        if self.as_json:
            self._object(name, error=str(error))
        else:
            console.error(str(error))

    def _object(self, name: str, **values: object) -> None:
        self._line(json.dumps({"schema": SCHEMA, "path": name, **values, "model": self.model}))

    def _line(self, text: str) -> None:
        console.say(text)
        sys.stdout.flush()
