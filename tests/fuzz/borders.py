"""What comes from outside, damaged at random: every border of kwspot answers with a result or a KwspotError.

    PYTHONPATH=. python -m tests.fuzz.borders --seed 1 --times 1 --write results/reliability/fuzz.json

A border is a function that makes an input of a random generator and gives it to kwspot. `N_INPUTS` are those of a full
run, 120,000 in all; the tests take a few of each. Inputs are valid ones with bytes or values changed, so that most get
past the first check.
"""

from contextlib import contextmanager
import gzip
from itertools import islice
import json
import os
from pathlib import Path
import random
import shutil
import socket
import struct
import sys
from threading import Thread
import time
from types import SimpleNamespace

import numpy as np
import soundfile

from kwspot.audio.blocks import file_blocks
from kwspot.audio.inputs import expand
from kwspot.audio.reading import read_waveform
from kwspot.corpus import http
from kwspot.corpus.archive import extract
from kwspot.corpus.install import read_marker
from kwspot.errors import KwspotError
from kwspot.evaluation.comparison import choose_runs, table_rows
from kwspot.experiments.registry import load_defaults, load_registry
from kwspot.experiments.runs import read_runs
from kwspot.experiments.settings import FrontEnd
from kwspot.features.cache import CachedClip, opened_writer, read_cache
from kwspot.inference.model_zoo import bundled_models
from kwspot.inference.pipeline import detection_settings
from kwspot.inference.spotter import Spotter, read_metadata
from kwspot.reports import results_table
from tests.archives import corpus_files, pack
from tests.counts import count
from tests.records import make_run
from tests.sounds import tone

N_INPUTS = {
    "audio files": 45_000, "lists of files": 5_000, "registries (YAML)": 15_000, "model metadata": 25_000,
    "model files (ONNX)": 1_000, "run records": 12_000, "feature caches": 8_000, "archives": 6_000,
    "corpus markers": 2_000, "HTTP answers": 3_000,
}  # fmt: skip
NUMBERS = (0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"))
TEXTS = ("", "a", "\x1b[2J", "a\u202eb", "\ud800", "../../x", "x" * 5000, "1", "null", "\0", "é", "\n")


def damaged(rng, content):
    """Return bytes with some changed, cut, doubled or put in."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        if not content:
            break
        at = rng.randrange(len(content)) if rng.random() < 0.5 else rng.randrange(min(200, len(content)))  # headers
        kind = rng.randrange(7)
        if kind < 3:
            content[at] = rng.choice((0, 255, 127, rng.randrange(256)))
        elif kind == 3:
            content[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1)))
        elif kind == 4:
            del content[at : at + rng.choice((1, 4, 100))]
        elif kind == 5:
            content[at:at] = content[rng.randrange(len(content)) :][: rng.choice((1, 8, 200))]
        else:
            del content[at if rng.random() < 0.3 else len(content) :]
    return bytes(content)


def anything(rng, depth=0):
    """Return a JSON value."""
    kind = rng.randrange(6 if depth < 3 else 4)
    if kind == 0:
        return rng.choice(NUMBERS)
    if kind == 1:
        return rng.choice(TEXTS)
    if kind < 4:
        return rng.choice((None, True, False, rng.randrange(100)))
    parts = [anything(rng, depth + 1) for _ in range(rng.randrange(4))]
    return parts if kind == 4 else {str(part)[:10]: part for part in parts}


def changed(rng, value):
    """Return a JSON value with one part, at any depth, replaced, left out or doubled."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return anything(rng)
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key, copy = rng.choice(keys), value.copy()
    kind = rng.randrange(5)
    if kind == 0:
        del copy[key]
    elif kind == 1 and isinstance(value, list):
        copy.append(value[key])
    elif kind == 1:
        copy[rng.choice(TEXTS)] = value[key]
    else:
        copy[key] = changed(rng, value[key])
    return copy


def written(rng, value):
    """Write a JSON value with a part changed, and sometimes with bytes changed."""
    content = json.dumps(changed(rng, value)).encode()
    return damaged(rng, content) if rng.random() < 0.2 else content


class Borders:
    """The borders, over valid inputs in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.sounds = [self._sound(*kind) for kind in (
            ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "PCM_24"), ("WAV", "ULAW"), ("WAV", "IMA_ADPCM"),
            ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"),
            ("AU", "PCM_16"), ("CAF", "PCM_16"), ("W64", "PCM_16"), ("RF64", "PCM_16"),
        )]  # fmt: skip
        self.run = make_run(folder / "runs", "lstm", 1).path
        make_run(folder / "runs", "gru", 1)
        self.run_files = {path: path.read_bytes() for path in self.run.iterdir() if path.name != "best.pt"}
        self.model = bundled_models()[0].path
        self.metadata = {key: json.dumps(value) for key, value in Spotter(self.model, threads=1).metadata.items()}
        front_end = FrontEnd(clip_ms=100.0, n_mels=5)
        clips = [CachedClip(i, f"yes/s{i}_nohash_0.wav", "yes", f"s{i}", "train", 8) for i in range(4)]
        with opened_writer(folder / "cache", front_end, 4) as writer:
            writer.finish_shard(0, np.zeros((4, 8, 5)))
            meta = {"source": "waveforms", "name": "x", "corpus_digest": "d", "skipped": [["a", "b"]]}
            self.cache = writer.finish(clips, meta).folder
        self.cache_files = {path: path.read_bytes() for path in self.cache.iterdir()}
        self.archive = pack(folder / "a.tar.gz", corpus_files(1)).read_bytes()
        self.tar = gzip.decompress(self.archive)

    def _sound(self, kind, subtype):
        path = self.folder / f"sound-{subtype}.{kind.lower()}"
        rate = 16_000
        soundfile.write(path, tone(440, 0.3, rate), rate, format=kind, subtype=subtype)
        return path.suffix, path.read_bytes()

    def audio_files(self, rng):
        """Read a damaged sound whole and in blocks."""
        suffix, content = rng.choice(self.sounds)
        path = self.folder / f"damaged{suffix}"
        path.write_bytes(damaged(rng, content))
        try:
            read_waveform(path, longest_s=60.0)
        finally:
            for n, _ in enumerate(file_blocks(path, 16_000)):
                if n == 30:
                    break

    def lists_of_files(self, rng):
        """Expand a list with damaged lines, in a folder of its own: some patterns walk all that lies below."""
        lines = [b"sound-PCM_16.wav", b"@list.txt", b"*.wav", b"a" * 300, b"\0", b"[", b"-x", b"~", b"@", b"**", b"."]
        (self.folder / "list.txt").write_bytes(damaged(rng, b"\n".join(rng.choices(lines, k=4))))
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            for source in islice(expand(["@list.txt"]), 100):
                if source.error:
                    raise source.error
                if isinstance(source.file, Path):
                    read_waveform(source.file)
        finally:
            os.chdir(before)

    def registries(self, rng):
        """Load a registry with damaged settings."""
        value = {
            "defaults": {"task": ["yes", "no"], "train": {"epochs": 7, "distill": {"teachers": ["a"]}}},
            "experiments": {
                "a": {"why": "x", "model": {"cell": "lstm", "stem": {"channels": [8]}}},
                "b": {"why": "y", "like": "a", "augment": {"snr_db": [1.0, 2.0], "neighbours": {"share": 0.5}}},
            },
        }
        path = self.folder / "experiments.yaml"
        text = b"x: &x [1]\ny: *x\n" * (rng.random() < 0.05) + written(rng, value)  # JSON is YAML
        path.write_bytes(text)
        load_registry(path)
        load_defaults(path)

    def model_metadata(self, rng):
        """Read metadata of which some values are damaged, and use what is believed."""
        known = dict(self.metadata)
        key = rng.choice(list(known))
        known[key] = written(rng, json.loads(known[key])).decode("utf-8", "replace")
        if rng.random() < 0.1:
            del known[rng.choice(list(known))]
        session = SimpleNamespace(get_modelmeta=lambda: SimpleNamespace(custom_metadata_map=known))
        detection_settings(read_metadata(session, self.model))

    def model_files(self, rng):
        """Open a damaged model, and predict with it if it opens."""
        content = bytearray(self.model.read_bytes())
        for _ in range(rng.choice((1, 3, 20))):
            content[rng.randrange(len(content))] = rng.randrange(256)
        end = rng.randrange(len(content)) if rng.random() < 0.2 else len(content)
        spotter = Spotter(self.model, threads=1, content=bytes(content[:end]) or b"x")
        spotter.predict(np.zeros(spotter.clip_length, np.float32))

    def run_records(self, rng):
        """Read, list and compare runs of which one has a damaged file."""
        path = rng.choice(list(self.run_files))
        content = self.run_files[path]
        lines = content.splitlines() if path.suffix == ".jsonl" else [content]
        lines[rng.randrange(len(lines))] = written(rng, json.loads(lines[0]))
        path.write_bytes(b"\n".join(lines))
        try:
            found, broken = read_runs(self.folder / "runs")
            assert len(found) + len(broken) == 2
            rows = table_rows(choose_runs(self.folder / "runs")[0])
            results_table.as_json(rows)
            results_table.terminal(rows)
            if broken:
                raise broken[0]
        finally:
            path.write_bytes(content)

    def feature_caches(self, rng):
        """Read a cache of which one file is damaged, and its rows if it opens."""
        path = rng.choice(list(self.cache_files))
        content = self.cache_files[path]
        path.write_bytes(written(rng, json.loads(content)) if path.suffix == ".json" else damaged(rng, content))
        try:
            cache = read_cache(self.cache)
            for clip in cache.clips:
                assert len(cache.frames[clip.row, : clip.n_frames]) == clip.n_frames >= 1
        finally:
            path.write_bytes(content)

    def archives(self, rng):
        """Extract an archive damaged before or after its compression; a refusal leaves nothing."""
        path, into = self.folder / "damaged.tar.gz", self.folder / "into"
        before = rng.random() < 0.8
        path.write_bytes(gzip.compress(damaged(rng, self.tar), 1) if before else damaged(rng, self.archive))
        into.mkdir()
        try:
            extract(path, into, report=lambda *_: None, free=lambda _: 10**8)
        except KwspotError:
            assert not any(into.iterdir())
            raise
        finally:
            shutil.rmtree(into)

    def corpus_markers(self, rng):
        """Read a damaged marker."""
        path = self.folder / ".kwspot" / "corpus.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(written(rng, {"schema": 1, "name": "x", "sha256": None, "n_files": 3}))
        marker = read_marker(self.folder)
        assert marker is None or isinstance(marker["name"], str)

    def http_answers(self, rng):
        """Fetch from a server whose answer is damaged; what is kept is no more than it sent."""
        partial = self.folder / "fetched.partial"
        body = http.GZIP_MAGIC + bytes(rng.choices(range(256), k=300))
        head = b"HTTP/1.1 %d OK\r\nContent-Type: application/gzip\r\nContent-Length: %d\r\nETag: \"one\"\r\n%s\r\n" % (
            rng.choice((200, 200, 200, 206, 416, 404, 301, 100)), len(body),
            rng.choice((b"", b"Content-Range: bytes 0-301/302\r\n", b"Location: file:///etc/passwd\r\n")),
        )  # fmt: skip
        if rng.random() < 0.5:
            partial.write_bytes(body[:100])
        answer = damaged(rng, head) + body if rng.random() < 0.7 else damaged(rng, head + body)
        with answering(answer) as url:
            try:
                http.fetch(url, partial, report=lambda *_: None)
            finally:
                for path in (partial, http.state_path(partial)):
                    path.unlink(missing_ok=True)


@contextmanager
def answering(answer):
    """Answer every connection with these bytes while the block runs."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.settimeout(2)
                    connection.recv(4096)
                    connection.sendall(answer)
                except OSError:
                    pass

    Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/a.tar.gz"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def functions(borders):
    """Return the function of every border by its name."""
    return {name: getattr(borders, name.partition(" (")[0].replace(" ", "_").lower()) for name in N_INPUTS}


def fuzz(name, n, seed, folder):
    """Give a border `n` inputs; return what came of them. What it raises beside KwspotError is not caught."""
    http.PAUSE_S, http.TIMEOUT_S = 0.0, 2.0
    border = functions(Borders(folder))[name]
    n_refused, slowest_s = 0, 0.0
    for i in range(n):
        rng = random.Random(f"{seed} {name} {i}")
        started = time.process_time()
        try:
            border(rng)
        except KwspotError:
            n_refused += 1
        except Exception:
            print(f"seed {seed}, {name}, input {i}", file=sys.stderr)
            raise
        slowest_s = max(slowest_s, time.process_time() - started)
    return {"inputs": n, "refused": n_refused, "accepted": n - n_refused, "slowest_s": round(slowest_s, 2)}


def main():
    """Fuzz all borders, or those named, and write the counts."""
    count(__doc__.splitlines()[0], "borders", N_INPUTS, fuzz)


if __name__ == "__main__":
    main()
