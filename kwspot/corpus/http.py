"""A file over HTTP, on from where it stopped: RFC 9110, section 14 (Range) and 13.1.5 (If-Range).

    <file>.partial        the bytes so far, written as they come, so that even a killed process keeps them
    <file>.partial.json   address, validator (ETag or Last-Modified) and whole size of what is being fetched

The next call asks for the missing bytes only. It starts over where the server has another file by now (If-Range
says so, or another whole size) or ignores Range; a web page never replaces what is there.
"""

from collections.abc import Callable
from http.client import HTTPException, InvalidURL
from pathlib import Path
import re
import time
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from kwspot import __version__
from kwspot.errors import ConfigError, IntegrityError, KwspotError
from kwspot.files import read_json, write_json
from kwspot.names import escaped

TRIES = 3  # connections a call
PAUSE_S = 1.0  # before the second; twice that before the third
TIMEOUT_S = 30.0  # without a byte
PIECE = 1 << 16  # bytes
MOST_DIGITS = 18  # of a number of bytes
GZIP_MAGIC = b"\x1f\x8b"


class _LostError(Exception):
    """The connection failed: worth another try."""


def fetch(
    url: str,
    partial: Path,
    *,
    report: Callable[..., None],
    room: Callable[[int], None] = lambda n_bytes: None,
    otherwise: str = "give --url MIRROR or --from-archive FILE",
) -> None:
    """Bring `partial` to its whole size, in up to `TRIES` connections; what came stays there if that fails.

    `report` receives bytes and whole size, from where the partial file ends; `room` is given the whole size
    before a byte is written, and raises if there is no room; `otherwise` is advised where fetching fails.
    KwspotError if the server or the network fails, IntegrityError if it sends something else than a gzip archive.
    """
    if not re.fullmatch(r"https?://[^\s/]+/\S*", url):
        raise ConfigError(f"{url}: not an http:// or https:// address")
    reason = ""
    for number in range(1, TRIES + 1):
        try:
            while not _transfer(url, partial, report, room, otherwise):
                pass  # at most once: with no partial file there is nothing to start over from
            return
        except _LostError as lost:
            reason = str(lost)
        if number < TRIES:
            time.sleep(PAUSE_S * number)
    if n_bytes := size_of(partial):
        raise KwspotError(
            f"{url}: connection lost {TRIES} times ({reason}); {n_bytes / 1e6:.1f} MB are kept in {partial}: "
            "run the command again to resume it"
        )
    raise KwspotError(f"{url}: not reached in {TRIES} tries ({reason}); check the network, or {otherwise}")


def state_path(partial: Path) -> Path:
    """Return the path of the notes about a partial file."""
    return partial.with_name(partial.name + ".json")


def size_of(path: Path) -> int:
    """Return the bytes of a file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def _transfer(
    url: str, partial: Path, report: Callable[..., None], room: Callable[[int], None], otherwise: str
) -> bool:
    """Go on with the partial file in one connection; False if it was of no use and is gone: start over."""
    start, state = size_of(partial), _read_state(partial)
    if start and start == state.get("total"):
        return True
    headers = {"User-Agent": f"kwspot/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if state.get("validator") and state.get("url") == url:
            headers["If-Range"] = state["validator"]
    with _open(url, headers, otherwise) as response:
        first, total = _span(response)
        if response.status == 416 and start and total == start:
            return True
        goes_on = first == start and state.get("total") in (None, total)
        if start and not goes_on and first != 0:
            partial.unlink()
            return False
        if first is None or first > start:
            raise KwspotError(f"{url}: the server answered {response.status} without the file; give another address")
        head = _read(response, len(GZIP_MAGIC))
        page = response.headers.get_content_type() == "text/html"
        if page or (first == 0 and not GZIP_MAGIC.startswith(head)):
            kind = "a web page" if page or head.startswith(b"<") else "no gzip archive"
            raise IntegrityError(f"{url}: sent {kind}, nothing of it is kept; check the address or give another")
        if total is not None:
            room(total)
        done, validator = (start if goes_on else 0), _validator(response)
        # Emptied before the notes are written: a partial file never has the notes of another.
        with partial.open("ab" if goes_on else "wb", buffering=0) as file:
            write_json(state_path(partial), {"url": url, "validator": validator, "total": total})
            report(done, total)
            piece = head
            while piece:
                file.write(piece)
                done += len(piece)
                report(done, total)
                piece = _read(response)
    if total is not None and done < total:
        raise _LostError("it was closed early")
    write_json(state_path(partial), {"url": url, "validator": validator, "total": done})
    return True


def _open(url: str, headers: dict[str, str], otherwise: str) -> Any:
    try:
        return urlopen(Request(url, headers=headers), timeout=TIMEOUT_S)
    except HTTPError as error:
        if error.code == 416:  # nothing beyond what is here: an answer, not a failure
            return error
        error.close()
        raise KwspotError(
            f"{url}: the server answered {error.code} {escaped(error.reason)[:100]}; check the address, try later, "
            f"or {otherwise}"
        ) from error
    except InvalidURL as error:
        raise ConfigError(f"{url}: not an address ({error})") from error
    except URLError as error:
        raise _LostError(str(error.reason)) from error
    except (OSError, HTTPException) as error:
        raise _LostError(str(error) or type(error).__name__) from error


def _read(response: IO[bytes], n_bytes: int | None = None) -> bytes:
    """Read exactly `n_bytes` or, without, what has come by now; b"" at the end."""
    try:
        return response.read(n_bytes) if n_bytes else response.read1(PIECE)  # type: ignore[attr-defined]
    except (OSError, HTTPException) as error:
        raise _LostError(str(error) or type(error).__name__) from error


def _span(response: Any) -> tuple[int | None, int | None]:
    """Return the first byte that a response carries (None: none) and the whole size of the file, if it says."""
    if response.status == 200:
        return 0, _number(response.headers.get("Content-Length", ""))
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if not match:
        return None, None
    first, total = match.groups()
    return _number(first or ""), _number(total)


def _number(text: str) -> int | None:
    """Return a number of bytes; None of what no file can have."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS else None


def _validator(response: Any) -> str | None:
    """Return what If-Range may carry: a strong ETag, else the date of the last change."""
    etag = response.headers.get("ETag", "")
    return _sendable(etag if etag.startswith('"') else response.headers.get("Last-Modified"))


def _sendable(value: Any) -> str | None:
    """Return what a header may carry back to a server; None of anything else."""
    return value if isinstance(value, str) and re.fullmatch(r"[ -~]{1,500}", value) else None


def _read_state(partial: Path) -> dict[str, Any]:
    try:
        state = read_json(state_path(partial))
    except (OSError, ValueError, IntegrityError):
        return {}
    return {**state, "validator": _sendable(state.get("validator"))} if isinstance(state, dict) else {}
