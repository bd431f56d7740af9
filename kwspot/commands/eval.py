"""`kwspot eval`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
import json
from pathlib import Path
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kwspot.commands import console
from kwspot.commands.options import DATA, RUNS, DataDir, RunNames, RunsDir
from kwspot.errors import ConfigError, KwspotError, MissingError

if TYPE_CHECKING:
    from kwspot.experiments.runs import Run

CSV_HEAD = ("run", "split", "corpus", "n", "n_speakers", "accuracy", "accuracy_low", "accuracy_high", "loss")


def eval_(
    names: RunNames,
    split: Annotated[
        str | None,
        typer.Option(
            help="validation, test, or test12 for the 12-class test archive. Default: test; with --false-alarms all."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything measured, one JSON object per run.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Accuracy and loss, a line of CSV per run.")] = False,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit with 1 if a run is below this fraction.")
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Write each run's confusion matrix and robustness as SVG.")] = None,
    confusion: Annotated[bool, typer.Option("--confusion", help="Print the whole confusion matrix.")] = False,
    streaming: Annotated[
        bool, typer.Option("--streaming", help="Also measure the run's two model files: whole clips, and streams.")
    ] = False,
    false_alarms: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Measure false alarms per hour and recall in real recordings, and nothing else."
        ),
    ] = None,
    transcripts: Annotated[
        Path | None,
        typer.Option(help="With --false-alarms: what is said in them. Default: the table in the folder."),
    ] = None,
    long_audio: Annotated[
        bool, typer.Option("--long-audio", help="Also measure FRR and false alarms per hour in assembled sound.")
    ] = False,
    hours: Annotated[float, typer.Option(min=0.01, help="With --long-audio: its length.")] = 3.0,
    snr_db: Annotated[float, typer.Option(help="With --long-audio: SNR, speech over noise.")] = 10.0,
    target: Annotated[
        float,
        typer.Option("--false-alarms-per-hour", min=0, help="The rate of false alarms to choose a threshold for."),
    ] = 1.0,
    robustness: Annotated[
        bool,
        typer.Option("--robustness", help="Also measure in noise, over the telephone, in rooms, louder, faster …"),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data: DataDir = DATA,
    runs: RunsDir = RUNS,
) -> None:
    """Measure finished runs on a split: accuracy with its interval, words, confusions.

    The interval is a bootstrap over speakers. Results are kept in the run's
    folder, where 'kwspot compare' finds them.

    --false-alarms searches real recordings: a keyword that the transcript has
    is a detection, every other one a false alarm. The table of transcripts is
    text.tsv or text.csv (path, text, perhaps speaker), Kaldi's text or
    LibriSpeech's .trans.txt; a words.ctm beside it says when words sound. It
    takes any model of 'kwspot models', too, of which it keeps no results, and
    continues where it was stopped.
    --long-audio assembles hours of sound from the split's clips: keywords at
    known times among other words, in noise.

    Both choose the operating point of a run on the validation split (threshold
    and smoothing) and write it into its model files; on another split they use
    the one these hold.

    Examples:

      kwspot eval lstm

      kwspot eval rnn lstm --split validation

      kwspot eval lstm --json --min-accuracy 0.9

      kwspot eval lstm --plots plots

      kwspot eval lstm --streaming

      kwspot eval gru_stream_12 --long-audio --split validation

      kwspot eval keywords10 --false-alarms recordings --transcripts text.tsv

      kwspot eval lstm --robustness --plots plots
    """
    form = console.chosen("text", json=as_json, csv=as_csv)
    if as_csv and (false_alarms or long_audio or robustness or streaming):
        raise ConfigError("--csv: has the accuracy only; --json has all that is measured")
    beside = {
        "--min-accuracy": min_accuracy is not None, "--confusion": confusion, "--streaming": streaming,
        "--long-audio": long_audio, "--robustness": robustness,
    }  # fmt: skip
    if false_alarms and (given := [option for option, wanted in beside.items() if wanted]):
        raise ConfigError(f"--false-alarms: measures nothing else; leave out {', '.join(given)}")
    if transcripts and not false_alarms:
        raise ConfigError("--transcripts: goes with --false-alarms FOLDER, which names the recordings")
    from kwspot.evaluation.comparison import SPLITS
    from kwspot.evaluation.evaluate import evaluate_run
    from kwspot.evaluation.recordings import EVERYTHING
    from kwspot.experiments.runs import read_run
    from kwspot.export.export import refresh_metadata
    from kwspot.reports.accuracy import evaluation_table

    known = (*SPLITS[:3], EVERYTHING) if false_alarms else SPLITS
    if split and split not in known:
        raise ConfigError(f"--split {split}: no such split; known: {', '.join(known)}")
    if false_alarms:
        _in_recordings(names, runs, as_json, plots, {
            "folder": false_alarms, "transcripts": transcripts, "split": split or EVERYTHING, "per_hour": target
        })  # fmt: skip
        return
    split = split or "test"
    assembled = {"hours": hours, "snr_db": snr_db, "per_hour": target} if long_audio else None
    extras = list(_extras(split, data, streaming=streaming, long_audio=assembled, robustness=robustness))
    below = []
    chosen = [run for name in names for run in _runs_of(name, runs)]
    for run in chosen:
        evaluation = evaluate_run(run, split=split, data=data, device=device)
        found = [(extra, extra.measured(run, plots)) for extra in extras]
        refresh_metadata(read_run(run.path))
        if form == "csv":
            if run is chosen[0]:
                console.say(console.csv_line(CSV_HEAD))
            console.say(console.csv_line(_csv_row(run, evaluation)))
        elif form == "json":
            console.say(json.dumps({"run": run.id, **evaluation, **{extra.key: measured for extra, measured in found}}))
        else:
            console.say(f"{run.id}\n{evaluation_table(evaluation, confusion=confusion)}")
            for extra, measured in found:
                console.say(extra.text(measured))
        if plots:
            from kwspot.reports.plots import plot_confusion

            path = plots / run.experiment / run.id / f"confusion_{split}.svg"
            plot_confusion(evaluation, path, f"{run.id}, {split} split")
            console.note(f"wrote {path}")
        if min_accuracy is not None and evaluation["accuracy"] < min_accuracy:
            below.append(f"{run.id} {evaluation['accuracy']:.4f}")
    if below:
        raise KwspotError(f"accuracy below --min-accuracy {min_accuracy}: {', '.join(below)}")


def _runs_of(name: str, runs: Path) -> "list[Run]":
    """List the finished runs of a name; of a model that is no run, say what can be measured."""
    from kwspot.experiments.runs import finished_runs
    from kwspot.inference.model_zoo import bundled_models, enrolled_models

    try:
        return finished_runs(runs, name)
    except MissingError as error:
        if name in [model.name for model in [*bundled_models(), *enrolled_models(runs)]]:
            raise MissingError(
                f"{name}: a model and no run; --false-alarms FOLDER measures it, nothing else"
            ) from error
        raise


def _csv_row(run: "Run", evaluation: Mapping[str, Any]) -> list[Any]:
    known = {"run": run.id, "corpus": evaluation["corpus"]["name"]}
    known |= dict(zip(("accuracy_low", "accuracy_high"), evaluation["interval"] or (None, None), strict=True))
    return [known[key] if key in known else evaluation[key] for key in CSV_HEAD]


def _in_recordings(names: list[str], runs: Path, as_json: bool, plots: Path | None, asked: dict[str, Any]) -> None:
    """Measure runs, or models that are not of a run, in real recordings."""
    from kwspot.evaluation.recordings import measure_recordings, measure_run, partial_name
    from kwspot.experiments.runs import STREAMED, WINDOWS, finished_runs, read_run
    from kwspot.export.export import refresh_metadata
    from kwspot.inference.streaming import Stream, open_model
    from kwspot.reports.recordings import plot_recordings, recordings_table

    for name in names:
        measured: dict[str, dict[str, Any]] = {}
        try:
            found = finished_runs(runs, name)
        except MissingError:
            model = open_model(name, runs)
            if not as_json:
                console.note(f"{model.name}: no run, so no record is kept; --json prints all that is measured")
            partial = runs / "measured" / partial_name(name, asked["folder"], asked["split"])
            with console.progress("recordings", unit="recordings") as report:
                record = measure_recordings(model, **asked, partial=partial, report=report)
            measured[model.name] = {STREAMED if isinstance(model, Stream) else WINDOWS: record}
        else:
            for run in found:
                with console.progress("recordings", unit="recordings") as report:
                    measured[run.id] = measure_run(run, **asked, report=report)
                refresh_metadata(read_run(run.path))
        for title, record in measured.items():
            _note_what_is_missing(asked["folder"], next(iter(record.values())))  # the same for each way
            text = json.dumps({"model": title, **record}) if as_json else f"{title}\n{recordings_table(record)}"
            console.say(text)
            if plots:
                file = re.sub(r"[^\w.+-]+", "_", title).strip("_")  # of a path, which names models too
                plot_recordings(record, path := plots / f"recordings_{file}.svg")
                console.note(f"wrote {path}")


def _note_what_is_missing(folder: Path, measured: dict[str, Any]) -> None:
    for recording, reason in measured["skipped"]:
        console.note(f"skipped {folder / recording}: {reason}")
    known, n = measured["transcripts"], measured["recordings"]
    if known < n:
        console.note(
            f"{known} of {n} recordings have a transcript; in the others every keyword counts as a false alarm"
            + ("" if known else "; --transcripts names a table")
        )


@dataclass(frozen=True)
class Extra:
    """What can be measured beside the accuracy: how it is named, measured, shown and drawn."""

    key: str  # in JSON
    title: str  # of its progress
    unit: str
    measure: Callable[..., dict[str, Any]]  # run, report
    text: Callable[[dict[str, Any]], str]
    plot: Callable[[dict[str, Any], Path], None] | None = None  # measured by run, file
    file: str = ""

    def measured(self, run: "Run", plots: Path | None) -> dict[str, Any]:
        """Measure a run, and draw it below a folder if one is given."""
        with console.progress(self.title, unit=self.unit) as report:
            measured = self.measure(run, report=report)
        if plots and self.plot:
            self.plot({run.id: measured}, path := plots / run.experiment / run.id / self.file)
            console.note(f"wrote {path}")
        return measured


def _extras(
    split: str, data: Path, *, streaming: bool, long_audio: dict[str, Any] | None, robustness: bool
) -> Iterator[Extra]:
    where: dict[str, Any] = {"split": split, "data": data}
    if streaming:
        from kwspot.evaluation.stream_parity import compare_streaming
        from kwspot.reports.accuracy import streaming_line

        yield Extra("streaming", "streaming", "clips", partial(compare_streaming, **where), streaming_line)
    if long_audio:
        from kwspot.evaluation.false_alarms import measure_false_alarms
        from kwspot.reports.det import false_alarm_table, plot_det

        measure = partial(measure_false_alarms, **where, **long_audio)
        yield Extra(
            "false_alarms", "long audio", "utterances", measure, lambda measured: f"\n{false_alarm_table(measured)}",
            plot_det, f"det_{split}.svg",
        )  # fmt: skip
    if robustness:
        from kwspot.evaluation.robustness import measure_robustness
        from kwspot.reports.robustness import plot_robustness, robustness_table

        yield Extra(
            "robustness", "robustness", "clips", partial(measure_robustness, **where),
            lambda measured: f"\n{robustness_table(measured)}", plot_robustness, f"robustness_{split}.svg",
        )  # fmt: skip
