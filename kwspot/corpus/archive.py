"""A tar.gz becomes files, all or none: it is read to its end before the first byte is written.

Only plain files and folders with names inside the target are taken; one `../`, absolute name, link or device
and the whole archive is refused. Nothing is left to tarfile's extraction, whose rules differ between Pythons.
Names that start with "." (`.DS_Store`, `._x.wav`) are no part of a corpus and are passed over.
"""

from collections.abc import Callable, Iterator
import gzip
from pathlib import Path, PurePosixPath, PureWindowsPath
import shutil
import tarfile
import zlib

from kwspot.errors import IntegrityError, KwspotError
from kwspot.files import size_text
from kwspot.names import is_printable

MOST_FILES = 2_000_000  # of a corpus: twenty times those of Speech Commands
MOST_HEADER = 2**16  # bytes of what goes before a member: its long name, its attributes
LONGEST_NAME, DEEPEST = 1000, 20  # characters and folders of a name
EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class _Member(tarfile.TarInfo):
    """A member whose extended header is not read into memory if it is far too large."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Member":
        """Read a header block."""
        member = super().frombuf(buf, encoding, errors)
        if member.type in EXTENDED and member.size > MOST_HEADER:
            raise tarfile.HeaderError(f"a header of {size_text(member.size)}")
        return member


def free_bytes(folder: Path) -> int:
    """Return the bytes free on the disk of an existing folder."""
    return shutil.disk_usage(folder).free


def require_space(folder: Path, n_bytes: int, free: Callable[[Path], int] = free_bytes) -> None:
    """Raise KwspotError unless `n_bytes` fit on the disk of `folder`."""
    if (there := free(folder)) < n_bytes:
        raise KwspotError(
            f"{folder}: {n_bytes / 1e9:.2f} GB needed, {there / 1e9:.2f} GB free; make room or give another --data"
        )


def extract(path: Path, folder: Path, *, report: Callable[..., None], free: Callable[[Path], int] = free_bytes) -> None:
    """Write the files of a tar.gz into an existing empty folder; refuse the archive whole before the first write.

    Only plain files and folders with relative names inside `folder` are taken; else, or if the archive is
    damaged or cut short, IntegrityError. `report` receives bytes and size of the archive; each of the two
    passes counts half.
    """
    size = path.stat().st_size
    files: dict[str, int] = {}
    for _, member, at in _members(path):
        name = _checked_name(path, member)
        if name in files:
            raise IntegrityError(f"{path}: refused: holds '{name}' twice; nothing was extracted")
        if name:
            files[name] = member.size
        if len(files) > MOST_FILES:
            raise IntegrityError(f"{path}: refused: holds more than {MOST_FILES:,} files; nothing was extracted")
        report(at // 2, size, "checking")
    inside = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    if both := inside & files.keys():
        raise IntegrityError(f"{path}: refused: '{min(both)}' is a file and a folder; nothing was extracted")
    if not files:
        raise IntegrityError(f"{path}: refused: holds no files")
    require_space(folder, sum(files.values()), free)
    for name in sorted(inside):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for tar, member, at in _members(path):
        if name := _checked_name(path, member):
            source = tar.extractfile(member)
            assert source is not None  # a plain file, as checked
            with (folder / name).open("xb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        report((size + at) // 2, size, "extracting")
    report(size, size)


def _members(path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo, int]]:
    """Yield each member and how many bytes of the archive are read; read to the very end, so that gzip checks it."""
    try:
        with (
            path.open("rb") as raw,
            gzip.GzipFile(fileobj=raw) as stream,
            tarfile.open(fileobj=stream, mode="r:", tarinfo=_Member) as tar,
        ):
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # a hundred thousand are 100 MB
                yield tar, member, raw.tell()
            while piece := stream.read(1 << 20):
                if piece.strip(b"\0"):  # tarfile takes a broken header for the end
                    raise tarfile.ReadError("a broken header")
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, IndexError, RecursionError) as error:
        # The last three come from headers that no program writes: a sparse map of words, a thousand names in a row.
        raise IntegrityError(f"{path}: damaged or cut short ({error}); fetch the archive again") from error


def _checked_name(path: Path, member: tarfile.TarInfo) -> str:
    """Return the clean name of a file to extract, "" for what is passed over; refuse what could do harm."""
    posix, windows = PurePosixPath(member.name), PureWindowsPath(member.name)
    if posix.is_absolute() or windows.drive or windows.root:
        problem = "an absolute name"
    elif ".." in posix.parts or ".." in windows.parts:
        problem = "a name outside its folder"
    elif member.issym() or member.islnk():
        problem = "a link"
    elif not (member.isfile() or member.isdir()):
        problem = "a device"
    elif member.issparse() or member.size < 0:
        problem = "a sparse file"
    elif not (member.name.isprintable() and is_printable(member.name)):
        problem = "a name that cannot be printed"
    elif len(member.name) > LONGEST_NAME or len(posix.parts) > DEEPEST:
        problem = "too long or too deep a name"
    else:
        hidden = any(part.startswith(".") for part in posix.parts)
        return "" if hidden or member.isdir() else str(posix)
    raise IntegrityError(f"{path}: refused: holds {problem}, {member.name[:100]!r}; nothing was extracted")
