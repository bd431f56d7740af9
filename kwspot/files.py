"""Writing that is whole or absent, locks between processes, and digests of what was written.

A file is written under the name `<name>.<8 hex digits>.partial` and moved into place by `os.replace`, so a reader sees
the old content or the new one, never half of it, and two writers of one file do not meet. A link stays a link: what it
leads to is written.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
import errno
from glob import escape
from hashlib import sha256
import json
import os
from pathlib import Path
from secrets import token_hex
import time
from typing import IO, Any

from kwspot.errors import ConfigError, IntegrityError, KwspotError

PARTIAL = ".partial"
MOST_JSON = 2**26  # bytes: run records and markers have a thousandth
STALE_S = 3600.0  # after which a partial file is taken for that of a killed process


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield the partial path to write to; move it to `path` if the block ends without an exception."""
    require_file_to_be(path)
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_partials(path.parent, escape(path.name), STALE_S)
    partial = path.with_name(f"{path.name}.{token_hex(4)}{PARTIAL}")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def require_file_to_be(path: Path) -> None:
    """Refuse a path that no file can be written to: a folder as the system does, a device or pipe by ConfigError."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path}: a device or pipe, and no file; name a file to write")


def remove_partials(folder: Path, name: str = "*", older_s: float = 0.0) -> None:
    """Delete what killed processes left in a folder of files of a name (a pattern), if it is older than `older_s`."""
    for partial in folder.glob(f"{name}.{'[0-9a-f]' * 8}{PARTIAL}"):
        with suppress(OSError):  # another process may be deleting it
            if time.time() - partial.stat().st_mtime >= older_s:
                partial.unlink()


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, keys in their order, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def locked(path: Path, busy: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file, released even by a killed process; KwspotError with `busy` if another holds it for so long."""
    from filelock import FileLock, Timeout  # 20 ms, which reading can do without

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=wait_s):
            try:
                yield
            finally:
                with suppress(OSError):  # Windows keeps a file that is open
                    path.unlink()
    except Timeout as error:
        raise KwspotError(busy) from error


def written_ns(path: Path) -> int | None:
    """Say when a file was written, in ns; None where there is none."""
    return path.stat().st_mtime_ns if path.exists() else None


def read_bounded(source: Path | IO[bytes], most_bytes: int) -> bytes:
    """Read a file or a stream to its end; IntegrityError if it holds more than `most_bytes` or is no plain file."""
    if isinstance(source, Path):
        if not source.is_file() and source.exists():
            raise IntegrityError(f"{source}: a folder, pipe or device; a file is needed")
        with source.open("rb") as file:
            content = file.read(most_bytes + 1)
    else:
        content = source.read(most_bytes + 1)
    if len(content) > most_bytes:
        name = f"{source}: " if isinstance(source, Path) else ""
        raise IntegrityError(f"{name}more than {size_text(most_bytes)}")
    return content


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Read a text in UTF-8; IntegrityError if it is in another encoding."""
    try:
        return path.read_text(encoding)
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{path}: not UTF-8, byte {error.start}; save it as UTF-8") from error


def read_json(path: Path) -> Any:
    """Read a JSON file of kwspot's own; ValueError if it is none, IntegrityError if it is far too large."""
    return parse_json(read_bounded(path, MOST_JSON))


def parse_json(content: bytes) -> Any:
    """Parse JSON in UTF-8; ValueError if it is none or nested too deeply."""
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def size_text(n_bytes: float) -> str:
    """Write a number of bytes with three digits: `512 B`, `4.02 MB`."""
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.3g} GB" if n_bytes < 1000 else f"{n_bytes:,.0f} GB"


def digest_of(value: Any) -> str:
    """Digest a JSON value: sha256 of its canonical text, 64 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(text.encode()).hexdigest()


def sha256_of_file(path: Path, report: Callable[..., None] = lambda done, total: None) -> str:
    """Digest the bytes of a file: sha256, 64 hex digits; reads in pieces of 1 MiB."""
    digest, size, done = sha256(), path.stat().st_size, 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            done += len(piece)
            report(done, size)
    return digest.hexdigest()
