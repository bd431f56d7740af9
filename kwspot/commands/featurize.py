"""`kwspot featurize`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import DATA, DataDir, Overrides, Quiet, RegistryPath, complete_experiment
from kwspot.errors import ConfigError, KwspotError

if TYPE_CHECKING:
    from kwspot.experiments.settings import FrontEnd
    from kwspot.features.imported import Frames


def featurize(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="EXPERIMENT",
            help="Experiments whose front ends to compute. Default: all of the registry.",
            autocompletion=complete_experiment,
        ),
    ] = None,
    data: DataDir = DATA,
    registry: RegistryPath = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a file was skipped.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. Default: one per core, at most 2; under 1 GB.")
    ] = None,
    from_frames: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="FRAMES.npy INDEX.tsv", help="Import frames computed elsewhere instead of clips."),
    ] = None,
    scale: Annotated[float, typer.Option(help="With --from-frames: scale * value + offset = ln(mel power).")] = 1.0,
    offset: Annotated[float, typer.Option(help="With --from-frames: see --scale.")] = 0.0,
    check: Annotated[
        Path | None, typer.Option(help="With --from-frames: compare them with recordings of the same names here.")
    ] = None,
    noise: Annotated[
        Path | None, typer.Option(help="With --from-frames: a folder of noise recordings, for the class 'silence'.")
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option(metavar="TARGETS.npy", help="With --from-frames: a teacher's embedding of every clip."),
    ] = None,
    background: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Instead of clips: long recordings, for train.background to cut from."),
    ] = None,
    transcripts: Annotated[
        Path | None, typer.Option(help="With --background: what is said in them. Default: the table in the folder.")
    ] = None,
    overrides: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """Compute the log-mel frames of every clip, once; training reads them from disk.

    Clips in stereo, of other rates or formats, too long or too short are
    converted and counted; files without usable audio are skipped and named.
    An interrupted run resumes where it stopped. A corpus that has changed is
    computed anew.

    Examples:

      kwspot featurize

      kwspot featurize --data my-words --strict

      kwspot featurize lstm -o front_end.hop_ms=20

      kwspot featurize lstm --from-frames frames.npy index.tsv --scale 0.1 --data imported

      kwspot featurize lstm --background recordings --transcripts text.tsv
    """
    from kwspot.experiments.registry import load_experiment, own_names
    from kwspot.features.extract import featurize as compute
    from kwspot.features.extract import summary

    experiments = [load_experiment(name, registry, overrides or ()) for name in names or own_names(registry)]
    front_ends = list(dict.fromkeys(experiment.front_end for experiment in experiments))
    if from_frames:
        if len(front_ends) > 1:
            raise ConfigError("--from-frames: name one experiment, whose front end made the frames")
        from kwspot.features.imported import read_frames

        frames = read_frames(*from_frames, front_ends[0], scale=scale, offset=offset, noise=noise, targets=targets)
        _import(frames, front_ends[0], check, data, quiet)
        return
    if background:
        _background(background, transcripts, front_ends, data, quiet)
        return
    n_skipped = 0
    for front_end in front_ends:
        with console.progress("featurize", unit="clips", quiet=quiet) as report:
            cache, made = compute(data, front_end, workers=workers, report=report)
        skipped = cache.meta["skipped"]
        n_skipped += len(skipped)
        for name, reason in skipped:
            console.note(f"skipped {data / name}: {reason}")
        for line in [] if quiet else summary(cache):
            console.note(line if made else f"{line} (already there)")
        console.say(str(cache.folder))
    if strict and n_skipped:
        raise KwspotError(f"{data}: {n_skipped} skipped, which --strict does not allow")


def _background(folder: Path, transcripts: Path | None, front_ends: list["FrontEnd"], data: Path, quiet: bool) -> None:
    from kwspot.features.background import write_background

    for front_end in front_ends:
        with console.progress("background", unit="recordings", quiet=quiet) as report:
            background, skipped = write_background(data, folder, front_end, transcripts=transcripts, report=report)
        for name, reason in skipped:
            console.note(f"skipped {folder / name}: {reason}")
        if not quiet:
            minutes = {
                split: sum(stretch.n_frames for stretch in background.of(split)) * front_end.hop_ms / 60_000
                for split in ("train", "validation", "test")
            }
            console.note(
                f"{len(background.stretches):,} recordings: "
                + ", ".join(f"{n:.0f} min {split}" for split, n in minutes.items())
            )
        console.say(str(background.folder))


def _import(frames: "Frames", front_end: "FrontEnd", recordings: Path | None, data: Path, quiet: bool) -> None:
    from kwspot.features.imported import check_frames, import_frames

    if recordings:
        agreement = check_frames(frames, recordings, front_end)
        console.note(
            f"{agreement.n_clips} clips compared with their recordings: median correlation "
            f"{agreement.correlation:.3f}, median difference {agreement.difference:.2f} nats; best fit "
            f"--scale {agreement.fitted_scale:.4f} --offset {agreement.fitted_offset:.2f}"
        )
    with console.progress("import", unit="shards", quiet=quiet) as report:
        cache = import_frames(frames, data, front_end, report)
    console.note(f"{len(cache.clips)} clips: " + ", ".join(f"{n} {s}" for s, n in cache.meta["n_clips"].items()))
    console.say(str(cache.folder))
