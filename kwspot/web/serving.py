"""How the page is served: requests answered in JSON, checked for where they come from, and limited.

Only requests by this page are answered: the Host is that of the address served on, or a name of this machine where
others may come (against DNS rebinding); the Origin of what changes anything is this page's own. The browser is told to
load nothing from other servers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from ipaddress import ip_address
import socket
from typing import Any, TypeVar
import webbrowser

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
import uvicorn

from kwspot.audio.reading import AudioError
from kwspot.errors import KwspotError

POLICY = "default-src 'self'; img-src 'self' data:; media-src 'self' blob: data:; connect-src 'self' data:"
POLICY += "; frame-ancestors 'none'"
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-cache",
}
AT_ONCE = 2  # answers that take work
WAITING = 64  # who wait for theirs; the next is asked to come back
RETRY_AFTER_S = 2  # of who was asked to; server.js does

Result = TypeVar("Result")
Answer = Callable[[Request], Awaitable[dict[str, Any]]]
Endpoint = Callable[[Request], Awaitable[Response]]


class BusyError(KwspotError):
    """Too many visitors at once."""


def answered(answer: Answer) -> Endpoint:
    """Answer in JSON; an error as {"error": one sentence}, which the page shows."""

    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(await answer(request))
        except AudioError as error:  # the reason, not where it is kept
            return _refused(f"No sound that can be read: {error.reason}.")
        except BusyError as error:
            return _refused(str(error), 503, {"retry-after": str(RETRY_AFTER_S)})
        except KwspotError as error:
            return _refused(str(error))
        except (KeyError, ValueError, TypeError) as error:
            return _refused(f"not a request of this page: {error}")

    return endpoint


def _refused(text: str, status: int = 400, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with an error; half a character that was asked with is written as an escape."""
    return JSONResponse({"error": text.encode("utf-8", "backslashreplace").decode()}, status, headers)


async def body_of(request: Request, most_bytes: int) -> bytes:
    """Read a request's body; KwspotError if it is longer than a page sends."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most_bytes:
            raise KwspotError(f"too much at once: more than {most_bytes / 2**20:.0f} MiB")
    return bytes(body)


class Workers:
    """Threads for answers that take work: AT_ONCE, and a queue of WAITING."""

    def __init__(self) -> None:
        self._free, self._n = asyncio.Semaphore(AT_ONCE), 0

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        """Run work in a thread, when one is free; BusyError if too many wait."""
        if self._n >= AT_ONCE + WAITING:
            raise BusyError("too many visitors at once; try again in a minute")
        self._n += 1
        try:
            async with self._free:
                return await run_in_threadpool(work, *arguments)
        finally:
            self._n -= 1


class OwnPageOnly:
    """Refuse requests of other pages, and tell the browser to load nothing from other servers (an ASGI middleware)."""

    def __init__(self, app: Any, host: str, names: Iterable[str] = ()) -> None:
        self.app, self.is_open = app, is_open(host)
        self.names = names_of(host) | {name.lower() for name in names}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer 403 to what does not come from this page; add the headers to every response."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS.items()]
            await send(message)

        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        named = without_port(host)
        strange = named not in self.names and not (self.is_open and is_address(named))
        crossed = scope["method"] == "POST" and headers.get("sec-fetch-site") == "cross-site"
        if strange or crossed or (origin is not None and origin.partition("://")[2] != host):
            text = "not a request of this page; --name admits another name of this machine\n"
            await PlainTextResponse(text, 403)(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)


def names_of(host: str) -> set[str]:
    """Return the names under which a browser reaches the page; at an address for other machines also this machine's."""
    names = {host, "localhost", "127.0.0.1", "[::1]"}
    if is_open(host):
        own = {socket.gethostname(), socket.getfqdn()}
        names |= own | {f"{name.partition('.')[0]}.local" for name in own}
    return {name.lower() for name in names}


def without_port(host: str) -> str:
    """Return the name in a Host header, in lower case."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdecimal() else host).lower()


def is_address(name: str) -> bool:
    """Tell whether a name is an IP address, which no other page can have for its own."""
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def is_open(host: str) -> bool:
    """Tell whether an address admits other machines."""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def serve(app: Any, host: str, port: int, *, opened: bool, started: Callable[[str], None]) -> None:
    """Serve until interrupted; `started` gets the address. KwspotError if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:  # UnicodeError: a..b
        raise KwspotError(f"{host}:{port} cannot be served on: {error}; --host and --port name another") from error
    with listening:
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{port}/"
        started(address)
        if opened:
            webbrowser.open(address)
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listening])
