"""How long does `kwspot enroll` take, and how much memory?

    python -m benchmarks.enrollment.seconds [--rounds 3]

Ten words, five clips of each, by five voices of one synthesiser (`kwspot synthesize`). Others say the words too, as
their folders are named for what is said; with --voices 0 they do not. Start-up is the same command up to the first
clip: its libraries imported and the encoder opened.
"""

import argparse
import shutil

from benchmarks.beside import cpu_s, in_turns, machine, peak_mb, process, scratch, table, write_page
from kwspot.corpus.layout import NOISE_FOLDER
from kwspot.tasks import UNKNOWN

WORDS = ("house", "window", "yellow", "computer", "garden", "music", "light", "kitchen", "morning", "seven")
SPEAK = ("synthesize", *WORDS, "--voices", "5", "--engine", "hibari", "--seed", "9", "--quiet")
START = "import kwspot.enrollment.enroll; from kwspot.enrollment.encoder import Encoder; Encoder(threads=1)"
PAGE = """# Enrolling ten words from five clips each

Written by `{program}`; its first lines say what is run. Medians of {rounds} rounds in turns on
{machine}.

{table}

Goal: at most 15 s after start-up.
"""


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with scratch() as folder:
        clips = folder / "clips"
        process("-m", "kwspot", *SPEAK, "--out", str(clips))
        for folder_of_no_word in (UNKNOWN, NOISE_FOLDER):
            shutil.rmtree(clips / folder_of_no_word)
        enroll = ["enroll", "own", "--clips", str(clips), "--again", "--runs", str(folder / "runs")]
        times = in_turns(
            options.rounds,
            {
                "start-up": lambda: process("-c", START),
                "`kwspot enroll`": lambda: process("-m", "kwspot", *enroll),
                "`kwspot enroll --voices 0`": lambda: process("-m", "kwspot", *enroll, "--voices", "0"),
            },
            warm=False,
        )
    rows = [[name, f"{cpu_s(times, name):.2f}", f"{peak_mb(times, name):.0f}"] for name in times]
    write_page(
        __file__, PAGE, rounds=options.rounds, machine=machine("numpy", "onnxruntime"),
        table=table(["process", "CPU s", "memory, MB"], rows),
    )  # fmt: skip


if __name__ == "__main__":
    main()
