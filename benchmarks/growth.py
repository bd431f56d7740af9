"""Do time and memory grow with the corpus no faster than its clips?

    python -m benchmarks.growth [--clips 1000 10000 105829]

`kwspot featurize`, an epoch of a small model (`kwspot train rnn`, one layer of 32 that steps over 8 frames), `kwspot
eval` and `kwspot compare`, each a process (featurize three), on corpora of a second a clip: hard links to 500 files, so
that they take no space. Speech Commands has 105,829 clips.
"""

import argparse
from pathlib import Path

from benchmarks.beside import Took, machine, process, scratch, table, write_page
from benchmarks.features.featurize import write_corpus

SMALL = ("model.hidden_size=32", "model.num_layers=1", "model.frame_stack=8", "train.batch_size=256", "train.epochs=1")
PAGE = """# Growth with the corpus

Written by `{program}`; its first lines say what is run. One run each on
{machine}.

{table}

CPU seconds, and memory of all processes of a command, in parentheses with the files mapped into it: libraries, and the
frames of the corpus, which the system takes back when it needs the space. Goals: no more than linear, and at most 1 GB.
"""


def commands(data: Path, runs: Path) -> dict[str, list[str]]:
    """Return the arguments of every command."""
    overrides = [part for setting in SMALL for part in ("-o", setting)]
    where = ["--data", str(data), "--runs", str(runs)]
    return {
        "featurize": ["featurize", "rnn", "--workers", "2", "--data", str(data)],
        "train": ["train", "rnn", *overrides, "--threads", "1", *where],
        "eval": ["eval", "rnn", "--min-accuracy", "0", *where],
        "compare": ["compare", "--runs", str(runs)],
    }


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs=3, default=[1_000, 10_000, 105_829])
    options = parser.parse_args()
    took: dict[str, list[Took]] = {}
    for n_clips in options.clips:
        with scratch() as folder:
            data = write_corpus(folder, n_clips)
            for name, arguments in commands(data, folder / "runs").items():
                took.setdefault(name, []).append(process("-m", "kwspot", *arguments))
                print(n_clips, name, took[name][-1], flush=True)
    rows = []
    for name, each in took.items():
        figures = [f"{one.cpu_s:.1f} s, {one.own_mb:.0f} MB ({one.peak_mb:.0f})" for one in each]
        rows.append([f"`kwspot {name}`", *figures, f"{each[-1].cpu_s / each[-2].cpu_s:.1f}"])
    few, many = options.clips[-2:]
    heading = ["command", *(f"{n:,} clips" for n in options.clips), f"time for {many / few:.1f} times the clips"]
    write_page(__file__, PAGE, machine=machine("numpy", "torch"), table=table(heading, rows))


if __name__ == "__main__":
    main()
