"""`kwspot download`: the recordings, or a spoken corpus instead."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kwspot.commands import console
from kwspot.commands.options import DATA, DataDir, Quiet
from kwspot.errors import ConfigError, IntegrityError

if TYPE_CHECKING:
    from kwspot.corpus.download import Progress


class Release(str, Enum):
    """The published releases of Speech Commands."""

    v2 = "v2"
    v1 = "v1"


def download(
    release: Annotated[Release, typer.Option("--release", help="v2: 35 words, 2.4 GB. v1: 30 words.")] = Release.v2,
    url: Annotated[
        str | None, typer.Option("--url", help="Another address of the archive, or of its folder if it ends in /.")
    ] = None,
    from_archive: Annotated[
        Path | None,
        typer.Option("--from-archive", metavar="FILE", help="Install this archive, without the network."),
    ] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", help="Digest that an archive of your own must have.")
    ] = None,
    synthetic: Annotated[bool, typer.Option("--synthetic", help="Speak the 35 words, without the network.")] = False,
    voices: Annotated[int, typer.Option("--voices", min=1, help="With --synthetic: voices per engine.")] = 40,
    seed: Annotated[int, typer.Option("--seed", help="With --synthetic: decides the voices.")] = 1,
    engine: Annotated[
        list[str] | None,
        typer.Option("--engine", metavar="NAME", help="With --synthetic: only this one; repeatable."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only check what is installed; exit 4 if it differs.")
    ] = False,
    keep_archive: Annotated[
        bool, typer.Option("--keep-archive", help="Keep the archive, in .kwspot of the data folder.")
    ] = False,
    data: DataDir = DATA,
    quiet: Quiet = False,
) -> None:
    """Fetch the recordings, verify them and put them into the data folder.

    An interrupted download resumes when you run the command again. v2 includes its 12-class test archive.

    Examples:

      kwspot download

      kwspot download --url http://mirror.example/data/

      kwspot download --from-archive speech_commands_v0.02.tar.gz

      kwspot download --synthetic --voices 10 --data spoken

      kwspot download --verify
    """
    ways = {"--url": url, "--from-archive": from_archive, "--synthetic": synthetic, "--verify": verify}
    if len(given := [way for way, value in ways.items() if value]) > 1:
        raise ConfigError(f"{' and '.join(given)}: give one of them")

    def progress(title: str) -> Any:
        return console.progress(title, unit="bytes", quiet=quiet)

    if verify:
        _verify(data)
    elif synthetic:
        from kwspot.synthesis.corpus import synthesize_corpus

        with console.progress("speak", unit="clips", quiet=quiet) as report:
            marker = synthesize_corpus(data, n_voices=voices, seed=seed, engines=engine, report=report)
        _tell(data, marker, new=True)
    else:
        _install(data, release.value, url, from_archive, sha256, keep_archive, progress)
    if not (verify or quiet):
        console.note("next: kwspot featurize" + (f" --data {data}" if data != DATA else ""))


def _install(
    dest: Path,
    version: str,
    url: str | None,
    file: Path | None,
    sha256: str | None,
    keep_archive: bool,
    progress: "Progress",
) -> None:
    from kwspot.corpus.download import V2, choose, download_archive, install_file
    from kwspot.corpus.install import TEST12, read_marker

    if file:
        marker, new = install_file(file, dest, version, sha256=sha256, progress=progress)
        _tell(dest, marker, new)
    else:
        for archive in choose(version, url=url, sha256=sha256):
            marker, new = download_archive(archive, dest, keep_archive=keep_archive, progress=progress)
            _tell(dest, marker, new)
    if marker["name"] == V2.name and not read_marker(dest, TEST12):
        console.note("without the 12-class test archive (split test12): a plain 'kwspot download' adds it")


def _verify(dest: Path) -> None:
    from kwspot.corpus.install import CORPUS, TEST12, check, read_marker

    wrong: list[str] = []
    for part in (CORPUS, TEST12) if read_marker(dest, TEST12) else (CORPUS,):
        found = check(dest, part)
        differences = {"missing": found.missing, "changed": found.changed, "new": found.new}
        for what, names in differences.items():
            for name in names:
                console.say(f"{what}\t{name}")
        if counts := [f"{len(names):,} {what}" for what, names in differences.items() if names]:
            wrong.append(f"{found.marker['name']}: {', '.join(counts)}")
        else:
            _tell(dest, found.marker, new=False)
    if wrong:
        raise IntegrityError(
            f"{dest}: not as it was installed ({'; '.join(wrong)}); delete the changed and new files, then "
            "'kwspot download' brings back what is missing"
        )


def _tell(dest: Path, marker: dict[str, Any], new: bool) -> None:
    amount = f"{marker['n_files']:,} files, {marker['n_bytes'] / 1e6:,.1f} MB"
    console.say(f"{dest}: {marker['name']} {'installed' if new else 'complete'}: {amount}")
