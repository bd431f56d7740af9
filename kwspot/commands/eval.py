"""`kwspot eval`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import DATA, RUNS, DataDir, RunNames, RunsDir
from kwspot.errors import KwspotError


def eval_(
    names: RunNames,
    split: Annotated[str, typer.Option(help="validation, test, or test12 for the 12-class test archive.")] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="Everything measured, one JSON object a line.")] = False,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit with 1 if a run is below this fraction.")
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Write each run's confusion matrix as SVG here.")] = None,
    confusion: Annotated[bool, typer.Option("--confusion", help="Print the whole confusion matrix.")] = False,
    streaming: Annotated[
        bool, typer.Option("--streaming", help="Also measure the run's two model files: whole clips, and streams.")
    ] = False,
    false_alarms: Annotated[
        bool, typer.Option("--false-alarms", help="Also measure misses and false alarms in long audio.")
    ] = False,
    hours: Annotated[float, typer.Option(min=0.01, help="With --false-alarms: length of the long audio.")] = 3.0,
    snr_db: Annotated[float, typer.Option(help="With --false-alarms: speech above the noise, in dB.")] = 10.0,
    target: Annotated[
        float, typer.Option("--target-fa-per-hour", min=0, help="False alarms an hour that a threshold may cost.")
    ] = 1.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data: DataDir = DATA,
    runs: RunsDir = RUNS,
) -> None:
    """Measure finished runs on a split: accuracy with its interval, words, confusions.

    The interval is a bootstrap over speakers. What was measured is kept in the
    run's folder, where 'kwspot compare' finds it.

    --false-alarms assembles hours of sound from the split's recordings:
    keywords at known times among other words, in noise. On the validation
    split it chooses threshold, smoothing and refractory period and writes them
    into the run's model files; on another split it uses what they hold.

    Examples:

      kwspot eval lstm

      kwspot eval rnn lstm --split validation

      kwspot eval lstm --json --min-accuracy 0.9

      kwspot eval lstm --plots plots

      kwspot eval lstm --streaming

      kwspot eval lstm --false-alarms --split validation
    """
    from kwspot.experiment import evaluate_run
    from kwspot.export import refresh_metadata
    from kwspot.report import evaluation_table, streaming_line
    from kwspot.runs import finished_runs, read_run
    from kwspot.streaming import compare_streaming

    below = []
    for run in [run for name in names for run in finished_runs(runs, name)]:
        evaluation = evaluate_run(run, split=split, data=data, device=device)
        heard = None
        if false_alarms:
            from kwspot.false_alarms import measure_false_alarms

            heard = measure_false_alarms(run, split=split, data=data, hours=hours, snr_db=snr_db, per_hour=target)
        refresh_metadata(read_run(run.path))
        streamed = compare_streaming(run, split=split, data=data) if streaming else None
        if as_json:
            more = {"streaming": streamed} if streamed else {}
            more |= {"false_alarms": heard} if heard else {}
            console.say(json.dumps({"run": run.id, **evaluation, **more}))
        else:
            console.say(f"{run.id}\n{evaluation_table(evaluation, confusion=confusion)}")
            if streamed:
                console.say(streaming_line(streamed))
            if heard:
                from kwspot.det import terminal

                console.say(f"\n{terminal(heard)}")
        if plots:
            from kwspot.plots import plot_confusion

            path = plots / run.experiment / run.id / f"confusion_{split}.svg"
            plot_confusion(evaluation, path, f"{run.id}, {split} split")
            console.note(f"wrote {path}")
            if heard:
                from kwspot.det import plot_det

                plot_det({run.id: heard}, path := path.with_name(f"det_{split}.svg"))
                console.note(f"wrote {path}")
        if min_accuracy is not None and evaluation["accuracy"] < min_accuracy:
            below.append(f"{run.id} {evaluation['accuracy']:.4f}")
    if below:
        raise KwspotError(f"accuracy below --min-accuracy {min_accuracy}: {', '.join(below)}")
