"""What the programs of tests/fuzz and tests/kill share: which to run, how often, and where the counts are kept."""

import argparse
from collections.abc import Callable, Mapping
import json
from pathlib import Path
from tempfile import TemporaryDirectory


def count(description: str, kind: str, numbers: Mapping[str, int], run: Callable[[str, int, int, Path], dict]):
    """Run what the command line names, all of `numbers` by default, and write the counts after each.

    `run` takes name, number, seed and an empty folder.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("names", nargs="*", default=list(numbers))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--times", type=float, default=1.0, help="of the usual numbers")
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    known = json.loads(given.write.read_text()) if given.write and given.write.exists() else {kind: {}}
    for name in given.names:
        with TemporaryDirectory() as folder:
            found = run(name, round(numbers[name] * given.times), given.seed, Path(folder))
        print(name, found, flush=True)
        known[kind][name] = {"seed": given.seed, **found}
        if given.write:
            given.write.parent.mkdir(parents=True, exist_ok=True)
            given.write.write_text(json.dumps(known, indent=2) + "\n")
