"""What long sound costs: speed on one core, peak memory, and whether an hour is its overlapping minutes.

    python -m benchmarks.inference.spot [--minutes 10 60] [--step-ms 40]

A recording of words by a synthesiser (`pip install 'kwspot[synth]'`) with pauses, as FLAC at 48 kHz in stereo, goes
through a process of its own, on one thread, window by window and as a stream. Speed is seconds of sound per second of
the process's CPU time, so that others at work on the machine hardly matter; importing and opening the model is not
counted. Memory is the peak of the process; read the ratio of long to short.
"""

import argparse
import json
from pathlib import Path
import subprocess
import sys
import time

import numpy as np
import soundfile

from benchmarks.beside import machine, scratch, table, write_page
from kwspot.audio.reading import resample
from kwspot.inference.model_zoo import DEFAULT_LONG, FOLDER, STREAM_SUFFIX
from kwspot.synthesis.engines import ENGINES, Engine, Utterance, installed

RATE = 48_000  # Hz, of the file
WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "happy", "seven")
PAUSE_S = (0.6, 6.0)
OVERLAP_S = 10.0
STREAM = str(FOLDER / f"{DEFAULT_LONG}{STREAM_SUFFIX}")
CHILD = "--child"
PAGE = """# Spotting in long sound

Written by `{program}`; its first lines say what is measured. `{model}` on
{machine}.

{table}
"""


def write_recording(path: Path, seconds: float) -> None:
    """Write words with pauses between them, in faint noise."""
    random = np.random.default_rng(0)
    name = next(name for name in ENGINES if name in installed())
    with Engine(name) as engine:
        spoken = [engine.speak(Utterance(word, ENGINES[name].accents[0])) for word in WORDS]
    words = [resample(np.asarray(waveform, np.float32), rate, RATE) for waveform, rate in spoken]
    with soundfile.SoundFile(path, "w", RATE, 2) as file:
        while file.frames < seconds * RATE:
            word = words[random.integers(len(words))]
            mono = np.concatenate([word, np.zeros(round(RATE * random.uniform(*PAUSE_S)), np.float32)])
            file.write(np.stack([mono, mono], axis=1) + random.normal(0, 1e-3, (len(mono), 2)).astype(np.float32))


def child(path: Path, model: str | None, step_ms: float) -> None:
    """Spot a recording and print what it took, as JSON."""
    import resource

    from kwspot.audio.blocks import file_blocks
    from kwspot.inference.detector import DetectionSettings
    from kwspot.inference.pipeline import spot
    from kwspot.inference.spotter import Spotter
    from kwspot.inference.streaming import SlidingWindow, Stream, StreamingModel

    streaming_model: StreamingModel = (
        Stream(model) if model else SlidingWindow(Spotter.load(DEFAULT_LONG, threads=1), step_ms=step_ms)
    )
    streaming_model.feed(np.zeros(streaming_model.sample_rate, np.float32))
    cpu, wall = time.process_time(), time.perf_counter()
    events = [
        (event.word, round((event.start_s + event.end_s) / 2, 3))
        for event in spot(streaming_model, file_blocks(path, streaming_model.sample_rate), DetectionSettings())
    ]
    took = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall, "events": events}
    print(json.dumps({**took, "peak_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))


def measured(path: Path, model: str | None, step_ms: float) -> dict:
    """Run `child` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.inference.spot", CHILD, str(path), model or "", str(step_ms)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def in_minutes(path: Path, model: str | None, step_ms: float, folder: Path) -> list[tuple[str, float]]:
    """Spot every minute by itself with 10 s before and after, and keep what lies in the minute."""
    found = []
    with soundfile.SoundFile(path) as file:
        for start in range(0, round(file.frames / RATE), 60):
            first = max(0.0, start - OVERLAP_S)
            file.seek(round(first * RATE))
            part = file.read(round((start + 60 + OVERLAP_S - first) * RATE), dtype="int16")
            soundfile.write(folder / "part.wav", part, RATE)
            events = measured(folder / "part.wav", model, step_ms)["events"]
            found += [(word, at + first) for word, at in events if start <= at + first < start + 60]
    return found


def main() -> None:
    """Measure and write the page."""
    if sys.argv[1:2] == [CHILD]:
        child(Path(sys.argv[2]), sys.argv[3] or None, float(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[10, 60])
    parser.add_argument("--step-ms", type=float, default=40, help="of windows")
    options = parser.parse_args()
    rows = []
    with scratch() as folder:
        for kind, model in (("windows", None), ("stream", STREAM)):
            for minutes in options.minutes:
                path = folder / f"{minutes:g}.flac"
                if not path.exists():
                    write_recording(path, 60 * minutes)
                rows.append([f"{kind}, {minutes:g} min", *figures(path, model, options.step_ms, folder)])
                print(*rows[-1], flush=True)
    heading = ["sound", "x real time on one core", "memory, MB", "detections", "of its minutes", "at most apart, s"]
    write_page(
        __file__, PAGE, model=DEFAULT_LONG, machine=machine("numpy", "soundfile", "onnxruntime"),
        table=table(heading, rows),
    )  # fmt: skip


def figures(path: Path, model: str | None, step_ms: float, folder: Path) -> list[str]:
    """Return what one recording took, its detections, and those of its minutes."""
    took = measured(path, model, step_ms)
    parts = in_minutes(path, model, step_ms, folder)
    whole = [tuple(event) for event in took["events"]]
    same = [word for word, _ in whole] == [word for word, _ in parts]
    apart = max((abs(a - b) for (_, a), (_, b) in zip(whole, parts, strict=False)), default=0)
    speed = soundfile.info(path).duration / took["cpu_s"]
    found = "the same" if same else f"{len(parts)}"
    return [f"{speed:.0f}", f"{took['peak_kb'] / 1024:.0f}", str(len(whole)), found, f"{apart:.2f}"]


if __name__ == "__main__":
    main()
