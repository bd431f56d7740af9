"""Own words as `kwspot enroll` makes them: how often is a word right, detected, and another taken for it?

    python benchmarks/enrollment/enrolled.py DATA [--draws N] [--split validation] [--out PAGE]

Clips are drawn as in own_words.py, from the same words and speakers. Ten words enrolled: right is a clip whose word is
the likeliest of the ten, detected one whose word is the likeliest of all classes, `unknown` and `silence` among them,
which is the operating point that comes with the file. Five enrolled: the clips of the other five are words that neither
the encoder nor the background ever met; taken is one of which an enrolled word is the likeliest class. A
clip that is refused because nothing can be heard in it is left out, as it would be recorded again.
"""

import argparse
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from own_words import ROWS, Sounds, draw, percent, read_clips

from kwspot.audio.reading import AudioError
from kwspot.corpus.layout import TEST
from kwspot.enrollment.clips import takes_of
from kwspot.enrollment.encoder import Encoder
from kwspot.enrollment.enroll import enroll_takes
from kwspot.inference.spotter import Spotter
from kwspot.tasks import KEYWORDS_10, SILENCE, UNKNOWN

N_DRAWS = 3
PAGE = """# Own words through `kwspot enroll`

Written by `python benchmarks/enrollment/enrolled.py`; its first lines say what is measured. {n:,} {split} clips of
{n_speakers} speakers, encoder `{encoder}`. Means of {n_draws} draws ± their standard deviation, in per cent.

| speakers × clips | ten words: right | detected | expected right | five words: detected | others taken |
|---|---|---|---|---|---|
{rows}
"""


def posteriors_of(
    sounds: Sounds, words: list[int], enrolled: NDArray[np.int64], tested: NDArray[np.int64], data: Path, seed: int
) -> tuple[NDArray[np.float64], float | None]:
    """Enroll some words and return the posteriors (n, n_words + 2) of the tested clips, and what is expected."""
    encoder = Encoder(threads=1)
    takes = []
    for i in enrolled[np.isin(sounds.words[enrolled], words)]:
        with suppress(AudioError):  # a silent clip
            takes += takes_of({KEYWORDS_10[sounds.words[i]]: [data / sounds.names[i]]}, None, encoder.sample_rate)
    made = enroll_takes(takes, encoder, seed=seed)
    spotter = Spotter(Path("enrolled"), content=made.content, threads=1)
    found = spotter.predict_clips([spotter.fit(sounds.waveforms[i]) for i in tested], len(spotter.labels))
    labels = [*(KEYWORDS_10[w] for w in words), UNKNOWN, SILENCE]
    rows = [[dict(prediction.top)[label] for label in labels] for prediction in found]
    return np.array(rows), made.expected.right


def measure(sounds: Sounds, row: tuple[int, int], seed: int, data: Path) -> list[float]:
    """Return the five figures of a draw."""
    rng = np.random.default_rng([0, seed])
    enrolled, tested = draw(sounds, *row, rng)
    said = sounds.words[tested]
    posteriors, expected = posteriors_of(sounds, list(range(10)), enrolled, tested, data, seed)
    right = (posteriors[:, :10].argmax(1) == said).mean()
    detected = (posteriors.argmax(1) == said).mean()
    five = sorted(rng.permutation(10)[:5].tolist())
    own = np.isin(sounds.words[enrolled], five)
    posteriors = posteriors_of(sounds, five, enrolled[own], tested, data, seed)[0]
    known = np.isin(said, five)
    number = np.array([five.index(w) if w in five else -1 for w in said])
    heard = (posteriors.argmax(1) == number)[known].mean()
    taken = (posteriors.argmax(1) < 5)[~known].mean()
    return [right, detected, np.nan if expected is None else expected, heard, taken]


def main() -> None:
    """Print the table, or write it as a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default=TEST)
    parser.add_argument("--draws", type=int, default=N_DRAWS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    sounds = read_clips(options.data, options.split)
    lines = []
    for name, row in ROWS.items():
        figures = np.array([measure(sounds, row, seed, options.data) for seed in range(options.draws)])
        lines.append(f"| {name} | {' | '.join(percent(column) for column in figures.T)} |")
        print(lines[-1], flush=True)
    page = PAGE.format(
        n=len(sounds.names), split=options.split, n_speakers=len(set(sounds.speakers)), n_draws=options.draws,
        encoder=Encoder(threads=1).metadata["run"], rows="\n".join(lines),
    )  # fmt: skip
    if options.out:
        options.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
