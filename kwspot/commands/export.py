"""`kwspot export`."""

from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
import shutil
from typing import TYPE_CHECKING, Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import DATA, RUNS, DataDir, RunsDir, complete_run
from kwspot.errors import ConfigError
from kwspot.extras import EXTRAS, require
from kwspot.files import require_file_to_be, written_whole
from kwspot.inference.model_zoo import SUFFIX, ModelFile, bundled_models, enrolled_models

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


MOST_LOST = 0.005


class Target(str, Enum):
    """What a model can be written for beside onnxruntime."""

    c = "c"


def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run, an experiment: its best run, or an enrolled model; with --for also a bundled one.",
            autocompletion=complete_run,
        ),
    ],
    target: Annotated[
        Target | None,
        typer.Option("--for", help="Write C99 in place of a model file: for a microcontroller, without a library."),
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Only the file for streaming.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Only a file with 8-bit weights; also with --stream.")] = False,
    most_lost: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="With --int8 or --for: validation accuracy that 8 bits may cost, as a fraction. "
            f"Default: {MOST_LOST}.",
        ),
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="Also write the run's figures into the block 'figures' of this model card.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="PATH", help="File to write; by default in the run's folder. With --for a folder."
        ),
    ] = None,
    data: DataDir = DATA,
    runs: RunsDir = RUNS,
) -> None:
    """Write a run as one file: waveform in, posteriors out.

    Training has done so already; this does it again. The file is compared with
    the trained model on 200 clips (recordings in --data, else generated sounds)
    and written only if its decisions are the same. An enrolled model is one file
    from the start: it is copied to --out. A model that reads in one
    direction also gets model.stream.onnx. An encoder becomes one file with
    weights of 8 bits: waveform in, embedding out.

    --for c makes a folder, by default NAME-c, of C99 that needs no library and
    streams; its weights have 8 bits. It is compiled here and compared like the
    file, so a C compiler is needed.

    Examples:

      kwspot export lstm

      kwspot export lstm-s1 --out spotter.onnx

      kwspot export lstm --int8 --most-lost 0.01

      kwspot export lstm --stream --out spotter.stream.onnx

      kwspot export lstm --stream --int8

      kwspot export house --out house.onnx

      kwspot export keywords10_nano --for c
    """
    if most_lost is not None and not target and (stream or not int8):
        raise ConfigError("--most-lost: goes with --int8 alone or --for c, where the accuracy of 8 bits is measured")
    most_lost = MOST_LOST if most_lost is None else most_lost
    enrolled = _path_of(name, enrolled_models(runs))
    if not enrolled:
        require("kwspot export", *EXTRAS["train"].libraries)
    if target:
        if stream or int8 or card:
            raise ConfigError("--for c: streams and has 8 bits by itself; leave out --stream, --int8 and --card")
        if enrolled:
            raise ConfigError(f"{enrolled}: enrolled, a finished model file; C is written of runs and bundled models")
        _write_c(name, out or Path(f"{Path(name.removesuffix(SUFFIX)).name}-c"), data, runs, most_lost)
        return
    if out:
        require_file_to_be(out)
    if enrolled:
        _copy_enrolled(enrolled, out, plain=not (stream or int8 or card))
        return
    from kwspot.experiments.runs import best_run, list_runs
    from kwspot.export.encoder import write_encoder
    from kwspot.export.export import (
        can_stream,
        is_encoder,
        prepare,
        write_clip_model,
        write_int8_model,
        write_stream_model,
    )

    bundled = _path_of(name, bundled_models())
    if bundled and all(run.experiment != name for run in list_runs(runs)):
        raise ConfigError(
            f"{name}: comes with kwspot, a finished model file: {bundled}; copy it, or give --for c; "
            "every other form is written of a run"
        )
    run = best_run(runs, name)
    if is_encoder(run):
        if stream or int8 or card:
            raise ConfigError(
                f"{run.id}: an encoder is one file with weights of 8 bits; leave out --stream, --int8 and --card"
            )
        path = write_encoder(run, data, out)
        console.say(f"{path}\t{path.stat().st_size} bytes")
        return
    if card:
        from kwspot.reports.accuracy import card_figures
        from kwspot.reports.markdown_blocks import read_block, write_block

        read_block(card, "figures")  # what is wrong with it is said before anything is written
    trained = prepare(run, data)
    if int8 and stream:
        paths = [write_stream_model(trained, out, int8=True)]
    elif int8:
        path, before, after = write_int8_model(trained, most_lost, out)
        console.note(f"validation accuracy {before:.2%} before, {after:.2%} with 8 bits")
        paths = [path]
    elif stream:
        paths = [write_stream_model(trained, out)]
    else:
        paths = [write_clip_model(trained, out)]
        if out is None and can_stream(trained.run):
            paths.append(write_stream_model(trained))
    if card:
        write_block(card, card_figures(trained.run), "figures")
        console.note(f"wrote {card}")
    for path in paths:
        console.say(f"{path}\t{path.stat().st_size} bytes")


def _path_of(name: str, models: list[ModelFile]) -> Path | None:
    return next((model.path for model in models if model.name == name), None)


def _write_c(name: str, folder: Path, data: Path, runs: Path, most_lost: float) -> None:
    from kwspot.experiments.runs import best_run
    from kwspot.experiments.settings import FrontEnd
    from kwspot.export.c_check import write_checked
    from kwspot.export.export import checked_clips, prepare, require_stream, write_int8_model
    from kwspot.inference.model_zoo import find_model
    from kwspot.inference.spotter import Spotter

    model, metadata = (found := find_model(name, runs)).path, Spotter(found.path).metadata
    if metadata.get("weights") != "int8":
        require_stream(run := best_run(runs, name))
        model, before, after = write_int8_model(prepare(run, data), most_lost)
        console.note(f"validation accuracy {before:.2%} before, {after:.2%} with 8 bits")
    batches = checked_clips(data, FrontEnd(**metadata["front_end"]))
    with console.progress("compare with the model file", unit="clips", brief=True) as report:
        paths = write_checked(model, folder, _counted(batches, report))
    for path in paths:
        console.say(f"{path}\t{path.stat().st_size} bytes")


def _counted(batches: "Iterable[NDArray[np.float32]]", report: console.Report) -> "Iterator[NDArray[np.float32]]":
    n_clips = 0
    for batch in batches:
        yield batch
        n_clips += len(batch)
        report(n_clips, None)


def _copy_enrolled(path: Path, out: Path | None, plain: bool) -> None:
    if not plain:
        raise ConfigError(
            f"{path}: enrolled, one file with an encoder of 8 bits; --stream, --int8 and --card are for runs"
        )
    if out:
        with written_whole(out) as partial:
            shutil.copyfile(path, partial)
    console.say(f"{out or path}\t{(out or path).stat().st_size} bytes")
