"""How long does `kwspot enroll` take, and how much memory?

    python -m benchmarks.enrollment.seconds [--rounds 3]

Ten words, five clips of each: a second of two tones and noise, the tones a word's own. Start-up is the same command up
to the first clip: its libraries imported and the encoder opened.
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.beside import cpu_s, in_turns, machine, peak_mb, process, scratch, table, write_page

N_WORDS, N_CLIPS, RATE = 10, 5, 16_000
START = "import kwspot.enrollment.enroll; from kwspot.enrollment.encoder import Encoder; Encoder(threads=1)"
PAGE = """# Enrolling ten words from five clips each

Written by `{program}`; its first lines say what is run. Medians of {rounds} rounds in turns on
{machine}.

{table}

Goal: at most 15 s after start-up.
"""


def write_clips(folder: Path) -> Path:
    """Write the clips of ten words by one speaker."""
    random = np.random.default_rng(0)
    time = np.arange(RATE) / RATE
    swell = np.sin(np.pi * time) ** 2
    for word in range(N_WORDS):
        (folder / f"word{word}").mkdir(parents=True)
        for take in range(N_CLIPS):
            first, second = (hz * random.uniform(0.95, 1.05) for hz in (200 * 1.25**word, 3000 / 1.2**word))
            waveform = np.sin(2 * np.pi * first * time) + np.sin(2 * np.pi * second * time * time)
            waveform = 0.1 * swell * (waveform + random.normal(0, 0.2, RATE))
            soundfile.write(folder / f"word{word}" / f"{take}.wav", waveform, RATE, "PCM_16")
    return folder


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with scratch() as folder:
        clips = write_clips(folder / "clips")
        enroll = ["enroll", "own", "--clips", str(clips), "--again", "--runs", str(folder / "runs")]
        times = in_turns(
            options.rounds,
            {"start-up": lambda: process("-c", START), "`kwspot enroll`": lambda: process("-m", "kwspot", *enroll)},
            warm=False,
        )
    rows = [[name, f"{cpu_s(times, name):.2f}", f"{peak_mb(times, name):.0f}"] for name in times]
    write_page(
        __file__, PAGE, rounds=options.rounds, machine=machine("numpy", "onnxruntime"),
        table=table(["process", "CPU s", "memory, MB"], rows),
    )  # fmt: skip


if __name__ == "__main__":
    main()
