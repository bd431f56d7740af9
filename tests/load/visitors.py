"""Fifty visitors on the page for ten minutes: is anybody refused, and does the server's memory stay flat?

    PYTHONPATH=. python -m tests.load.visitors [--clients 50] [--minutes 10] [--write results/reliability/load.json]

`kwspot ui` runs in a process of its own (Linux: its memory is read in /proc). Every visitor does over and over what a
browser does: opens the page with all it loads, listens live for a while in real time, predicts recordings, compares
runs. A block is sent as live.js sends it: when a quarter of a second waits and the block before was answered. With
eight seconds waiting a visitor gives up, which is counted as fallen behind. Anything but an answer of 200 is a refusal.
"""

import argparse
from collections import Counter
import os
from pathlib import Path
import random
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread
import time

import httpx
import numpy as np

from kwspot.audio.reading import Decoded, as_wav
from kwspot.files import write_json
from kwspot.inference.model_zoo import DEFAULT, DEFAULT_LONG
from tests.browsers import server
from tests.records import make_run
from tests.sounds import tone

RATE = 48_000  # Hz, of the microphones
MESSAGE = 2048  # samples that a browser's microphone hands over at once
BLOCK_S, MOST_S = 0.25, 8.0  # as in live.js
LISTENED_S, LOOKED_S = (10.0, 40.0), (5.0, 20.0)
TIMEOUT_S = 120.0
STATIC = Path(__file__).parents[2] / "kwspot" / "web" / "static"


class Tally:
    """What came of all requests, and the end of the time."""

    def __init__(self):
        self.over, self.answers, self.refusals, self._lock = Event(), Counter(), Counter(), Lock()

    def add(self, counter, what):
        """Count one."""
        with self._lock:
            counter[what] += 1


class Visitor(Thread):
    """One visitor until the time is over."""

    def __init__(self, address, tally, seed):
        super().__init__(daemon=True)
        self.tally, self.random = tally, random.Random(seed)
        self.client = httpx.Client(base_url=address, timeout=TIMEOUT_S, trust_env=False)
        noise = np.random.default_rng(seed).normal(0, 0.01, round(LISTENED_S[1] + 1) * RATE)
        bursts = tone(150 + 5 * seed, LISTENED_S[1] + 1, RATE) * (np.arange(len(noise)) // (RATE // 2) % 4 == 0)
        self.sound = (noise + bursts).clip(-1, 1).astype(np.float32)
        self.samples = (self.sound * 32_767).astype("<i2")

    def run(self):
        """Come, and come again."""
        with self.client:
            while not self.tally.over.is_set():
                self.visit()

    def visit(self):
        """Open the page and use it."""
        self.ask("page", "GET", "/")
        for file in STATIC.iterdir():
            self.ask("page", "GET", f"/static/{file.name}")
        self.ask("page", "GET", "/api/models")
        self.ask("page", "GET", "/api/expected", model=DEFAULT_LONG, threshold=0.9)
        self.listen(self.random.uniform(*LISTENED_S))
        for _ in range(self.random.randrange(1, 4)):
            start, length = self.random.randrange(len(self.sound) // 2), round(self.random.uniform(0.3, 3) * RATE)
            content = as_wav(Decoded(self.sound[start : start + length], RATE))
            model = self.random.choice((DEFAULT, DEFAULT_LONG))
            self.ask("predictions", "POST", "/api/predict", content, model=model, name="the recording")
            self.tally.over.wait(self.random.uniform(*LOOKED_S))
        self.ask("comparisons", "GET", "/api/compare")
        self.tally.over.wait(self.random.uniform(*LOOKED_S))

    def listen(self, seconds):
        """Send the microphone's sound as it comes, and stop."""
        started = self.ask("live sessions", "POST", "/live/start", model=DEFAULT_LONG, rate=RATE)
        begun, n_sent = time.monotonic(), 0
        while started and n_sent < seconds * RATE and not self.tally.over.is_set():
            n_heard = int((time.monotonic() - begun) * RATE) // MESSAGE * MESSAGE
            waiting_s = (n_heard - n_sent) / RATE
            if waiting_s > MOST_S:
                self.tally.add(self.tally.answers, "fallen behind")
                return  # as the browser does: the server forgets it by itself
            if waiting_s < BLOCK_S:
                time.sleep(BLOCK_S - waiting_s)
                continue
            asked = {"visitor": started["visitor"], "at": n_sent, "threshold": 0.9}
            content = self.samples[n_sent:n_heard].tobytes()
            if not self.ask("live blocks", "POST", "/live/process", content, **asked):
                return
            n_sent = n_heard
        if started:
            self.ask("stops", "POST", "/live/stop", visitor=started["visitor"])

    def ask(self, what, method, path, content=None, **values):
        """Ask the server; None if it refused, or the time is over."""
        if self.tally.over.is_set():
            return None
        try:
            response = self.client.request(method, path, params=values or None, content=content)
        except httpx.HTTPError as error:
            self.tally.add(self.tally.refusals, f"{what}: {type(error).__name__}")
            return None
        if response.status_code != 200:
            self.tally.add(self.tally.refusals, f"{what}: {response.text[:200]}")
            return None
        self.tally.add(self.tally.answers, what)
        return response.json() if what in ("live sessions", "live blocks") else response


def memory_mb(process):
    """Return what a process has of the machine's memory (MB)."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6


def cpu_s(process):
    """Return the seconds of CPU time that a process has had, all its threads together."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def visited(n_clients, minutes, folder):
    """Let visitors come, all at once, for some minutes; return the counts and the memory.

    `cores` is how much of a core the server had on average: of a busy machine it may be less than it needs.
    """
    for name in ("lstm", "gru"):
        make_run(folder / "runs", name, 1)
    with server(folder) as (address, process):
        tally = Tally()
        visitors = [Visitor(address, tally, seed) for seed in range(n_clients)]
        for visitor in visitors:
            visitor.start()
        memory, begun, cpu_before_s = [], time.monotonic(), cpu_s(process)
        while time.monotonic() - begun < 60 * minutes:
            time.sleep(1)
            memory.append(memory_mb(process))
            if len(memory) % 30 == 0:
                print(f"{len(memory)} s: {memory[-1]:.0f} MB", dict(tally.answers), dict(tally.refusals), flush=True)
        tally.over.set()
        used_s = cpu_s(process) - cpu_before_s
        for visitor in visitors:
            visitor.join()
    third = len(memory) // 3
    thirds = [round(float(np.mean(memory[i * third : (i + 1) * third])), 1) for i in range(3)]
    return {
        "clients": n_clients, "minutes": minutes, "cores": round(used_s / (60 * minutes), 2),
        "answers": dict(sorted(tally.answers.items())), "refusals": dict(tally.refusals),
        "memory_mb": thirds, "growth": round(thirds[2] / thirds[1] - 1, 4),
    }  # fmt: skip


def main():
    """Measure, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        found = visited(given.clients, given.minutes, Path(folder))
    print(found)
    if given.write:
        write_json(given.write, found)


if __name__ == "__main__":
    main()
