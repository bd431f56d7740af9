"""Small archives in the official layout, and a web server on the loopback address that misbehaves on request."""

from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import io
import tarfile
from threading import Event, Thread

import numpy as np
import soundfile

WORDS = ("no", "yes")


def wav(seed, n_samples=4000):
    """Return the bytes of a 16-bit file of noise, which gzip cannot make smaller."""
    file = io.BytesIO()
    waveform = np.random.default_rng(seed).uniform(-0.5, 0.5, n_samples).astype(np.float32)
    soundfile.write(file, waveform, 16_000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def corpus_files(n_takes=3, seed=0):
    files = {
        f"{word}/{10 * w + i:08x}_nohash_0.wav": wav(seed + 10 * w + i)
        for w, word in enumerate(WORDS)
        for i in range(n_takes)
    }
    files["_background_noise_/running_tap.wav"] = wav(seed + 99)
    files["validation_list.txt"] = b"no/00000000_nohash_0.wav"
    files["testing_list.txt"] = b"yes/0000000a_nohash_0.wav"
    return files


def pack(path, files, *members):
    """Write a tar.gz of files as the official ones are ("./yes/x.wav", no top folder), then any other members."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in members:
            tar.addfile(member, io.BytesIO(b"\0" * member.size))
    return path


def read_tree(folder):
    """Return what a corpus folder holds, without kwspot's own notes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".kwspot" not in path.parts
    }


@dataclass
class Web:
    """A served file and how it is served; `asked` and `sent` record each request."""

    content: bytes = b""
    etag: str | None = '"one"'
    ranges: bool = True  # honour Range
    drops: list[int] = field(default_factory=list)  # bytes of body after which each of the next answers ends
    status: int | None = None  # answer this error instead
    reason: str | None = None  # with it
    headers: dict[str, str] = field(default_factory=dict)  # more of them
    page: bytes | None = None  # answer this web page instead
    sized: bool = True  # say Content-Length
    stall_after: int | None = None  # bytes of body after which to wait for `go_on`
    go_on: Event = field(default_factory=Event)
    asked: list[str | None] = field(default_factory=list)  # the Range header
    sent: list[int] = field(default_factory=list)  # bytes of body
    url: str = ""

    def answer(self, handler):
        wanted = handler.headers.get("Range")
        self.asked.append(wanted)
        if self.status:
            return handler.send_error(self.status, self.reason)
        body, status, kind, size = self.content, 200, "application/gzip", len(self.content)
        if self.page is not None:
            body, kind = self.page, "text/html; charset=utf-8"
        elif wanted and self.ranges and handler.headers.get("If-Range") in (None, self.etag):
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            body, status = self.content[first:], 206 if first < size else 416
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        if status == 206:
            handler.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        if status == 416:
            handler.send_header("Content-Range", f"bytes */{size}")
        if self.sized:
            handler.send_header("Content-Length", str(len(body)))
        if self.etag:
            handler.send_header("ETag", self.etag)
        for name, value in self.headers.items():
            handler.send_header(name, value.encode().decode("latin-1"))
        cut = body[: self.drops.pop(0)] if self.drops else body
        self.sent.append(len(cut))  # before the other side can be done
        handler.end_headers()
        handler.wfile.write(cut[: self.stall_after])
        if self.stall_after is not None:
            self.go_on.wait(30)
            handler.wfile.write(cut[self.stall_after :])
        return None


@contextmanager
def served(content=b"", **ways):
    """Serve `content` at `web.url` while the block runs."""
    web = Web(content, **ways)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            with suppress(OSError):  # the other side was killed
                web.answer(self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.url = f"http://127.0.0.1:{server.server_port}/data/words.tar.gz"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        web.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()
