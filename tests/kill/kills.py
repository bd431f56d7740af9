"""Processes killed (SIGKILL) at a random moment: the same command, given again, ends with the same files.

    PYTHONPATH=. python -m tests.kill.kills --seed 1 --write results/reliability/kills.json

Every job runs once undisturbed; what it leaves and how long it takes are the measure. `N_KILLS` is a full run.
"""

from dataclasses import dataclass
import json
import os
from pathlib import Path
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np

from tests.archives import corpus_files, pack, served
from tests.counts import count
from tests.records import make_run
from tests.sounds import make_corpus, tone, write_sound
from tests.toy import SETTINGS, make_cache

N_KILLS = {"train": 40, "featurize, two workers": 20, "download over HTTP": 60, "enroll": 40, "runs rm": 80}
VOLATILE = (
    "timing.jsonl",
    "events.out",
    "checkpoint.pt",
    ".lock",
    ".partial",
)  # say when; or are for a resumed run only
TRIES = 3  # times a command is given again, as a person would


@dataclass
class Job:
    """A command in a folder; `again` is what is given after a kill."""

    prepare: object  # folder -> None
    command: list
    again: list
    alike: object = None  # folder -> what must be the same


def tree(folder):
    """Return what a folder holds, without what says when it was made."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or any(part in name for part in VOLATILE):
            continue
        content = path.read_bytes()
        if path.name == "metrics.json":
            content = {key: value for key, value in json.loads(content).items() if key != "seconds"}
        found[name] = content
    return found


def _frames(folder):
    """Return what a corpus's cache holds; its folder's name follows from times of change."""
    (cache,) = (path for path in (folder / "data" / ".kwspot").glob("features-*") if path.suffix != ".partial")
    meta = json.loads((cache / "meta.json").read_text())
    return (cache / "frames.npy").read_bytes(), (cache / "index.tsv").read_text(), meta["corpus_digest"]


def _overrides(*more):
    return [part for setting in (*SETTINGS, *more) for part in ("-o", setting)]


def _clips(folder):
    rng = np.random.default_rng(0)
    for w, word in enumerate(("house", "light")):
        for take in range(3):
            noise = rng.normal(0, 0.003, 16_000).astype(np.float32)
            noise[4000:10_000] += tone(300 + 300 * w + 20 * take, 6000 / 16_000) * np.hanning(6000).astype(np.float32)
            write_sound(folder / "clips" / word / f"{take}.wav", noise)


def _names(folder):
    return {str(path.relative_to(folder)) for path in (folder / "runs").rglob("*") if path.suffix != ".lock"}


def _enrolled(folder):
    path = folder / "runs" / "enrolled" / "mine.onnx"
    return path.read_bytes()


def jobs(url, sha256):
    """Return the jobs by name; `url` serves an archive of this digest."""
    train = ["train", "lstm", "--threads", "1", "-q", *_overrides("train.epochs=12", "train.patience=null")]
    fetch = ["download", "--data", "data", "--url", url, "--sha256", sha256, "-q"]
    featurize, enroll = ["featurize", "lstm", "--workers", "2", "-q"], ["enroll", "mine", "--clips", "clips"]
    remove = ["runs", "rm", "--yes", "lstm-s1"]
    return {
        "train": Job(lambda folder: make_cache(folder / "data"), train, [*train, "--resume"]),
        "featurize, two workers": Job(
            lambda folder: make_corpus(folder / "data", ("left", "right", "up"), 250, 0.2),
            featurize, featurize, alike=_frames,
        ),
        "download over HTTP": Job(lambda folder: None, fetch, fetch, alike=lambda folder: tree(folder / "data")),
        "enroll": Job(_clips, enroll, [*enroll, "--again"], alike=_enrolled),
        "runs rm": Job(_two_runs, remove, remove, alike=_names),
    }  # fmt: skip


def _two_runs(folder):
    for name in ("lstm", "gru"):
        run = make_run(folder / "runs", name, 1)
        for i in range(200):
            (run.path / f"events.out.tfevents.{i}").write_bytes(b"x" * 1000)


def start(command, folder):
    """Start a command in a folder, in a process group of its own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KWSPOT_")}
    root = str(Path(__file__).parents[2])
    environment |= {"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "no_proxy": "127.0.0.1"}
    return subprocess.Popen(
        [sys.executable, "-m", "kwspot", *command], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def undisturbed(job, folder):
    """Run a job to its end; return what it leaves, and the seconds it took."""
    job.prepare(folder)
    started = time.monotonic()
    process = start(job.command, folder)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    return (job.alike or tree)(folder), time.monotonic() - started


def killed(job, folder, after_s):
    """Kill a job and give its command again until it ends well; return whether it was killed in time, and its times."""
    job.prepare(folder)
    process = start(job.command, folder)
    try:
        process.communicate(timeout=after_s)
        in_time = False
    except subprocess.TimeoutExpired:
        process.kill()  # of its children none is: they have to end by themselves
        process.communicate()
        in_time = True
    for _ in range(TRIES):
        process = start(job.again, folder)
        _, stderr = process.communicate(timeout=300)
        if "Traceback" in stderr or process.returncode not in (0, 1, 2, 3):
            raise AssertionError(stderr)
        if process.returncode == 0 or (job.command[:2] == ["runs", "rm"] and "no such run" in stderr):
            return in_time
    raise AssertionError(f"{TRIES} times: {stderr}")


def kill_often(name, n, seed, folder):
    """Kill a job `n` times at random moments; return counts. AssertionError if it ends with other files."""
    rng = random.Random(f"{seed} {name}")
    archive = pack(folder / "words.tar.gz", corpus_files(40))
    content = archive.read_bytes()
    from kwspot.files import sha256_of_file

    with served(content) as web:
        job = jobs(web.url, sha256_of_file(archive))[name]
        (folder / "whole").mkdir()
        expected, seconds = undisturbed(job, folder / "whole")
        n_in_time = 0
        for i in range(n):
            place = folder / "killed"
            place.mkdir()
            if name.startswith("download"):
                web.drops[:] = [rng.randrange(len(content))] if rng.random() < 0.3 else []
            n_in_time += killed(job, place, rng.uniform(0.1, seconds))
            found = (job.alike or tree)(place)
            assert found == expected, f"{name}, kill {i}: {_difference(found, expected)}"
            shutil.rmtree(place)
    return {"kills": n_in_time, "ended_before": n - n_in_time, "seconds": round(seconds, 1)}


def _difference(found, expected):
    if isinstance(found, set):
        return sorted(found ^ expected)
    if not isinstance(found, dict):
        return "other content"
    return sorted(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))


def main():
    """Kill all jobs, or those named, and write the counts."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    count(__doc__.splitlines()[0], "jobs", N_KILLS, kill_often)


if __name__ == "__main__":
    main()
