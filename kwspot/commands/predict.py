"""`kwspot predict`."""

import json
from pathlib import Path
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import DATA, RUNS, DataDir, RunsDir
from kwspot.errors import ConfigError, KwspotError

if TYPE_CHECKING:
    from kwspot.prediction import Prediction


def predict(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="Audio files: WAV, FLAC, OGG or MP3.")
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Take a random test clip of the corpus.")] = False,
    top: Annotated[int, typer.Option(min=1, help="How many words to print for a clip.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    run: Annotated[
        str | None, typer.Option("--run", help="Experiment or run. Default: the best run on validation.")
    ] = None,
    data: DataDir = DATA,
    runs: RunsDir = RUNS,
) -> None:
    """Say which word a clip holds, with its posterior.

    One line a file: path, word, posterior, tab-separated in a pipe. A file
    that cannot be read is reported on stderr, the rest goes on, and the exit
    code is not 0.

    Examples:

      kwspot predict x.wav

      kwspot predict --top 3 --run lstm clips/*.wav

      kwspot predict --random

      kwspot predict --json *.wav | jq .word
    """
    if bool(paths) == random:
        raise ConfigError("predict needs audio files, or --random for a test clip of the corpus; not both")
    from kwspot.prediction import Predictor
    from kwspot.runs import best_run

    chosen = best_run(runs, run)
    predictor = Predictor(chosen)
    if random:
        _print(predictor.predict_random(data, top), chosen.id, as_json)
        return
    failed: list[KwspotError] = []
    for path in paths or ():
        try:
            _print(predictor.predict_file(path, top), chosen.id, as_json)
        except KwspotError as error:
            failed.append(error)
            console.error(str(error))
    if failed:
        raise typer.Exit(failed[0].exit_code if len(paths or ()) == 1 else KwspotError.exit_code)


def _print(prediction: "Prediction", run_id: str, as_json: bool) -> None:
    if as_json:
        known = {} if prediction.true_word is None else {"true_word": prediction.true_word}
        record = {
            "path": prediction.path,
            "word": prediction.word,
            "posterior": round(prediction.posterior, 6),
            "top": [[word, round(posterior, 6)] for word, posterior in prediction.top],
            **known,
            "run": run_id,
        }
        console.say(json.dumps(record, ensure_ascii=False))
    else:
        words = [part for word, posterior in prediction.top for part in (word, f"{posterior:.2f}")]
        if prediction.true_word is not None:
            words.append(f"true word: {prediction.true_word}")
        console.say(("  " if sys.stdout.isatty() else "\t").join([prediction.path, *words]))
    sys.stdout.flush()
