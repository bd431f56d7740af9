"""A part of a corpus moves into its folder whole, with a marker that says so and a list to check it against.

    with claimed(dest, CORPUS): place(dest, CORPUS, fill, name="speech_commands_v0.02", source=url, sha256=digest)

    DEST/.kwspot/corpus.partial/     being filled; swept away by the next call
    DEST/.kwspot/corpus.whole/       full, with its marker inside: being moved into DEST, the marker last
    DEST/.kwspot/corpus.json         the marker: this corpus is complete
    DEST/.kwspot/corpus.files.json   bytes of every file that came with it, by path

An interruption at any moment leaves the marker or no marker, and `settle` finishes a move that was cut short.
DEST itself is never renamed (it may be a mount point), and nothing that lies in it is overwritten.
The 12-class test archive goes the same way as the part `test12`, into DEST/_test12_/.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import os
from pathlib import Path
import shutil
from typing import Any

from kwspot.errors import ConfigError, IntegrityError, KwspotError, MissingError
from kwspot.files import PARTIAL, locked, read_json, write_json
from kwspot.names import is_printable

KEPT = ".kwspot"  # all that kwspot writes about a corpus
CORPUS, TEST12 = "corpus", "test12"
FOLDERS = {CORPUS: "", TEST12: "_test12_"}  # part -> its folder in DEST
WHOLE = ".whole"
_LIST, _MARKER = ".files.json", ".json"  # hidden inside a folder that is whole, so no archive can hold them


@contextmanager
def claimed(dest: Path, part: str) -> Iterator[None]:
    """Hold `dest` for the writing of a part: refuse foreign files and a second writer, finish a move cut short.

    What the disk refuses in the meantime becomes a KwspotError of one line.
    """
    try:
        refuse_foreign(dest, part)
        (dest / KEPT).mkdir(parents=True, exist_ok=True)
        with locked(dest / KEPT / "lock", f"{dest}: another command is at work there; wait for it to end"):
            settle(dest)
            yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise KwspotError(
            f"{error.filename or dest}: {error.strerror or error}; fix that or give another folder"
        ) from error


def refuse_foreign(dest: Path, part: str) -> None:
    """Raise ConfigError if the folder of a part that is not installed holds files: they are somebody's own."""
    target = dest / FOLDERS[part]
    if not target.is_dir() or read_marker(dest, part) or unsettled(dest):
        return
    ours = {folder for other, folder in FOLDERS.items() if read_marker(dest, other)}
    names = sorted(path.name for path in target.iterdir() if not path.name.startswith("."))
    if names := [name for name in names if name not in ours]:
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise ConfigError(
            f"{target}: holds files that kwspot did not put there ({shown}); they are left alone: give an empty "
            f"folder, or use them as they are with 'kwspot featurize --data {dest}'"
        )


def place(
    dest: Path, part: str, fill: Callable[[Path], None], *, name: str, source: str, sha256: str | None, **more: Any
) -> dict[str, Any]:
    """Let `fill` write a part into an empty folder, then move it into `dest` whole; return its marker.

    Over the same part it brings back what is missing; ConfigError if `dest` holds another one.
    """
    identity = {"name": name, "sha256": sha256, **more}
    there = read_marker(dest, part)
    if there and any(there.get(key) != value for key, value in identity.items()):
        raise ConfigError(f"{dest}: holds another corpus, {there.get('name')}; give another folder")
    partial = dest / KEPT / (part + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    folder = partial / FOLDERS[part]
    folder.mkdir(parents=True)
    try:
        fill(folder)
        files = files_in(folder)
        marker = {"schema": 1, "name": name, "source": source, "sha256": sha256}
        marker |= {"n_files": len(files), "n_bytes": sum(files.values()), **more}
        write_json(partial / _LIST, dict(sorted(files.items())))
        write_json(partial / _MARKER, marker)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.replace(partial.with_name(part + WHOLE))
    settle(dest)
    return marker


def unsettled(dest: Path) -> bool:
    """Tell whether a move into `dest` was cut short, so that what lies there is not yet whole."""
    return any((dest / KEPT / (part + WHOLE)).exists() for part in FOLDERS)


def settle(dest: Path) -> None:
    """Move what is whole into place, the marker last; do nothing if nothing waits."""
    for part in FOLDERS:
        whole = dest / KEPT / (part + WHOLE)
        if not whole.exists():
            continue
        _move_entries(whole, dest)
        for name in (_LIST, _MARKER):  # the marker last: it says that all the rest is there
            if (whole / name).exists():
                (whole / name).replace(dest / KEPT / (part + name))
        shutil.rmtree(whole)


def _move_entries(source: Path, target: Path) -> None:
    for entry in sorted(source.iterdir()):
        there = target / entry.name
        if entry.name.startswith("."):
            continue
        if not there.exists():
            entry.rename(there)
        elif entry.is_dir() and there.is_dir():
            _move_entries(entry, there)  # what exists stays as it is


def files_in(folder: Path, *, passed_over: tuple[str, ...] = ()) -> dict[str, int]:
    """List the files below a folder as relative POSIX path -> bytes, without names that start with "."."""
    found: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in passed_over:
                continue
            if entry.is_dir():
                below = files_in(Path(entry.path))
                found |= {f"{entry.name}/{name}": size for name, size in below.items()}
            else:
                found[entry.name] = entry.stat().st_size
    return found


def read_marker(dest: Path, part: str = CORPUS) -> dict[str, Any] | None:
    """Read the marker of a complete part, None if there is none."""
    path = dest / KEPT / (part + _MARKER)
    try:
        marker = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise IntegrityError(f"{path}: not a marker ({error}); delete it and run 'kwspot download'") from error
    if not isinstance(marker, dict) or not (isinstance(marker.get("name"), str) and is_printable(marker["name"])):
        raise IntegrityError(f"{path}: not a marker (it names no corpus); delete it and run 'kwspot download'")
    return marker


@dataclass(frozen=True)
class Check:
    """What a part's folder holds against its marker: names of files that are missing, changed in size, or new."""

    marker: dict[str, Any]
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Every file that came with the part is there with its bytes."""
        return not (self.missing or self.changed)


def check(dest: Path, part: str = CORPUS) -> Check:
    """Compare the files of a part with the list written when it was installed."""
    marker = read_marker(dest, part)
    if marker is None:
        raise MissingError(f"{dest}: no complete {part}; 'kwspot download --data {dest}' makes it")
    folder, listed = dest / FOLDERS[part], dest / KEPT / (part + _LIST)
    passed_over = tuple(name for name in FOLDERS.values() if name) if part == CORPUS else ()
    there = files_in(folder, passed_over=passed_over) if folder.is_dir() else {}
    try:
        expected = read_json(listed)
        if not isinstance(expected, dict) or not all(type(size) is int for size in expected.values()):
            raise ValueError("no list of files and their bytes")
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{listed}: cannot be read ({error}); download into another folder") from error
    return Check(
        marker,
        missing=tuple(sorted(expected.keys() - there.keys())),
        changed=tuple(sorted(name for name, size in expected.items() if there.get(name, size) != size)),
        new=tuple(sorted(there.keys() - expected.keys())),
    )
