"""Writing that is whole or absent, locks between processes, and digests of what was written.

A file is written under the name `<name>.partial` and moved into place by `os.replace`, so a reader sees
the old content or the new one, never half of it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
import json
import os
from pathlib import Path
from typing import Any

from kwspot.errors import KwspotError

PARTIAL = ".partial"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield the partial path to write to; move it to `path` if the block ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, keys in their order, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file, released even by a killed process; KwspotError with `busy` if another process holds it."""
    from filelock import FileLock, Timeout  # 20 ms, which reading can do without

    try:
        with FileLock(path, timeout=0):
            try:
                yield
            finally:
                with suppress(OSError):  # Windows keeps a file that is open
                    path.unlink()
    except Timeout as error:
        raise KwspotError(busy) from error


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
