"""The recordings: fetched, verified by their sha256, installed whole, and known to be there by their marker.

    DEST/.kwspot/<archive>.partial   while it is fetched, kept across calls (fetch)
    DEST/.kwspot/<archive>           while it is extracted; stays with `keep_archive`
    DEST/<word>/<clip>.wav           moved in when all is extracted (archive, install)

Speech Commands: Warden, arXiv:1804.03209, CC BY 4.0. The archives have no top folder.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
import re
from typing import Any
from urllib.parse import urlsplit

from kwspot.corpus.archive import extract, free_bytes, require_space
from kwspot.corpus.http import fetch, size_of, state_path
from kwspot.corpus.install import CORPUS, KEPT, TEST12, check, claimed, place, read_marker
from kwspot.errors import ConfigError, IntegrityError
from kwspot.files import PARTIAL, sha256_of_file

SPACE = 2.5  # archive and its files together, in archive sizes: v0.02 has 2.4 GB and 3.6 GB on disk

Progress = Callable[[str], AbstractContextManager[Callable[..., None]]]


def silent(_title: str) -> AbstractContextManager[Callable[..., None]]:
    """Show no progress."""
    return nullcontext(lambda done, total, message="": None)


@dataclass(frozen=True)
class Archive:
    """A tar.gz on the network: the name of what it holds, its file name, address, digest, and part of a corpus."""

    name: str
    file: str
    url: str
    sha256: str
    part: str = CORPUS


def _official(name: str, sha256: str, part: str = CORPUS) -> Archive:
    return Archive(name, f"{name}.tar.gz", f"http://download.tensorflow.org/data/{name}.tar.gz", sha256, part)


V2 = _official("speech_commands_v0.02", "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58")
V1 = _official("speech_commands_v0.01", "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d")
# TensorFlow Datasets, tensorflow_datasets/url_checksums/speech_commands.txt (it lists V2's digest too)
V2_TEST12 = _official(
    "speech_commands_test_set_v0.02", "cc2a00c1147c2254e9be3fa0f779d8c17421dc349b86366567a8edfa9acd51df", TEST12
)
VERSIONS = {"v2": (V2, V2_TEST12), "v1": (V1,)}


def choose(version: str, *, url: str | None = None, sha256: str | None = None) -> tuple[Archive, ...]:
    """Return the archives to fetch: those of a version, from a mirror (`url`), or one's own (`url` and `sha256`).

    A `url` that ends in "/" is a folder with all archives of the version, else it is the corpus archive alone.
    """
    if sha256:
        if not url:
            raise ConfigError("--sha256 goes with --url or --from-archive: it says which archive is meant")
        return (custom(url, sha256),)
    if url and url.endswith("/"):
        return tuple(replace(one, url=url + one.file) for one in VERSIONS[version])
    return (replace(VERSIONS[version][0], url=url),) if url else VERSIONS[version]


def custom(source: str, sha256: str) -> Archive:
    """Describe an archive of one's own; the corpus is named like its file."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ConfigError(f"--sha256 {sha256}: not 64 hex digits")
    stem = re.sub(r"\.(tar\.gz|tgz)$", "", PurePosixPath(urlsplit(source).path).name)
    name = re.sub(r"[^\w.-]", "_", stem).strip(".") or "archive"
    return Archive(name, f"{name}.tar.gz", source, sha256.lower())


def download_archive(
    archive: Archive,
    dest: Path,
    *,
    keep_archive: bool = False,
    progress: Progress = silent,
    free: Callable[[Path], int] = free_bytes,
) -> tuple[dict[str, Any], bool]:
    """Bring a part of a corpus into `dest` unless it is there; return its marker and whether it is new.

    Goes on from where an earlier call stopped. KwspotError if the network or the disk fails, IntegrityError
    if something else than the archive comes, ConfigError if `dest` is used for other files.
    """
    kept = dest / KEPT / archive.file
    partial = kept.with_name(kept.name + PARTIAL)
    with claimed(dest, archive.part):
        marker = _installed(dest, archive)
        new = marker is None
        if marker is None:
            if not kept.exists():
                with progress(f"fetch {archive.file}") as report:
                    fetch(archive.url, partial, report=report, room=lambda n: _require_room(dest, n, partial, free))
            path = kept if kept.exists() else partial
            try:
                _verify(archive, path, progress)
                marker = _install(archive, path, dest, progress, free)
            except IntegrityError:
                path.unlink()
                raise
            if keep_archive and path == partial:
                partial.replace(kept)
        for done_with in (partial, state_path(partial)):
            done_with.unlink(missing_ok=True)
    return marker, new


def install_file(
    path: Path,
    dest: Path,
    version: str = "v2",
    *,
    sha256: str | None = None,
    progress: Progress = silent,
    free: Callable[[Path], int] = free_bytes,
) -> tuple[dict[str, Any], bool]:
    """Install an archive that is already on the disk: one of the version's, or the one with `sha256`."""
    if not path.is_file():
        raise ConfigError(f"--from-archive {path}: no such file")
    with progress(f"verify {path.name}") as report:
        digest = sha256_of_file(path, report)
    known = (custom(path.resolve().as_uri(), sha256),) if sha256 else VERSIONS[version]
    archive = next((one for one in known if one.sha256 == digest), None)
    if archive is None:
        elsewhere = [name for name, group in VERSIONS.items() if digest in {one.sha256 for one in group}]
        hint = f"give --release {elsewhere[0]}" if elsewhere else "fetch it again, or, if it is meant, give --sha256"
        wanted = " or ".join(one.sha256 for one in known)
        raise IntegrityError(f"{path}: its sha256 is {digest}, expected {wanted}; {hint}")
    with claimed(dest, archive.part):
        if marker := _installed(dest, archive):
            return marker, False
        return _install(replace(archive, url=str(path)), path, dest, progress, free), True


def _installed(dest: Path, archive: Archive) -> dict[str, Any] | None:
    """Return the marker if the archive's files are all there, None if some or all are missing."""
    marker = read_marker(dest, archive.part)
    if marker is None:
        return None
    if marker.get("sha256") != archive.sha256:
        raise ConfigError(f"{dest}: holds {marker['name']}, not {archive.name}; give another folder with --data")
    found = check(dest, archive.part)
    if found.changed:
        raise IntegrityError(
            f"{dest}: {len(found.changed)} files differ from the archive ({', '.join(found.changed[:3])}); "
            "delete them and run the command again: it brings back what is missing"
        )
    return None if found.missing else marker


def _install(
    archive: Archive, path: Path, dest: Path, progress: Progress, free: Callable[[Path], int]
) -> dict[str, Any]:
    with progress(f"extract {archive.file}") as report:
        return place(
            dest,
            archive.part,
            lambda folder: extract(path, folder, report=report, free=free),
            name=archive.name,
            source=archive.url,
            sha256=archive.sha256,
        )


def _verify(archive: Archive, path: Path, progress: Progress) -> None:
    with progress(f"verify {archive.file}") as report:
        digest = sha256_of_file(path, report)
    if digest != archive.sha256:
        raise IntegrityError(
            f"{archive.url}: not {archive.name}: its sha256 is {digest}, not {archive.sha256}; removed: "
            "run the command again, or give another address with --url"
        )


def _require_room(dest: Path, n_bytes: int, partial: Path, free: Callable[[Path], int]) -> None:
    require_space(dest, round(SPACE * n_bytes) - size_of(partial), free)
