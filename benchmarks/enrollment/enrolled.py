"""Own words as `kwspot enroll` makes them: how often is a word right, detected, and another taken for it?

    python -m benchmarks.enrollment.enrolled DATA [--text ENGINE[,ENGINE...]]... [--no-clips]
        [--voices N] [--spoken FOLDER] [--draws N] [--split validation] [--out PAGE]

Clips are drawn as in own_words.py, from the same words and speakers. Synthesisers say the words too, as `kwspot enroll`
has it, except in the rows of recordings alone (--voices 0 there). Ten words enrolled: right is a clip whose word is
the likeliest of the ten, detected one whose word is the likeliest of all classes, `unknown` and `silence` among them,
which is the operating point that comes with the file. Five enrolled: the clips of the other five are words that neither
the encoder nor the background ever met; taken is one of which an enrolled word is the likeliest class. A
clip that is refused because nothing can be heard in it is left out, as it would be recorded again.

With --text the words are also enrolled from text alone, by some engines, and all clips of the split are tested; a draw
is a seed of voices, of other texts and of the five words. What an engine says is kept in the folder --spoken, so that
only the first run waits for it. --no-clips leaves the rows of clips out.
"""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
import tempfile

import numpy as np
from numpy.typing import NDArray

from benchmarks.enrollment.own_words import ROWS, SAMPLE_RATE, Sounds, draw, percent, read_clips
from kwspot.audio.reading import AudioError
from kwspot.corpus.layout import TEST
from kwspot.enrollment.clips import Take, takes_of
from kwspot.enrollment.encoder import Encoder
from kwspot.enrollment.enroll import enroll_takes
from kwspot.enrollment.operating import ACCEPTED, ACCEPTED_SPOKEN
from kwspot.enrollment.spoken import N_VOICES, speak
from kwspot.enrollment.voices import other_voices
from kwspot.inference.spotter import Spotter
from kwspot.tasks import KEYWORDS_10, SILENCE, UNKNOWN

N_DRAWS = 3
PAGE = """# Own words through `kwspot enroll`

Written by `python -m benchmarks.enrollment.enrolled`; its first lines say what is measured. {n:,} {split} clips of
{n_speakers} speakers, encoder `{encoder}`. Means of {n_draws} draws ± their standard deviation, in per cent.

| speakers × clips | ten words: right | detected | expected right | five words: detected | others taken |
|---|---|---|---|---|---|
{rows}
"""


def posteriors_of(
    takes: list[Take], words: Sequence[str], sounds: Sounds, tested: NDArray[np.int64], accepted: float, seed: int
) -> tuple[NDArray[np.float64], float | None]:
    """Enroll some words and return the posteriors (n, n_words + 2) of the tested clips, and what is expected."""
    own = [take for take in takes if take.word in words or not take.is_keyword]
    made = enroll_takes(own, Encoder(threads=1), accepted=accepted, seed=seed)
    spotter = Spotter(Path("enrolled"), content=made.content, threads=1)
    found = spotter.predict_clips([spotter.fit(sounds.waveforms[i]) for i in tested], len(spotter.labels))
    labels = [*words, UNKNOWN, SILENCE]
    return np.array([[dict(prediction.top)[label] for label in labels] for prediction in found]), made.expected.right


def figures_of(
    takes: list[Take], sounds: Sounds, tested: NDArray[np.int64], accepted: float, seed: int, rng: np.random.Generator
) -> list[float]:
    """Return the five figures of a draw."""
    said = sounds.words[tested]
    posteriors, expected = posteriors_of(takes, KEYWORDS_10, sounds, tested, accepted, seed)
    right = (posteriors[:, :10].argmax(1) == said).mean()
    detected = (posteriors.argmax(1) == said).mean()
    five = sorted(rng.permutation(10)[:5].tolist())
    posteriors = posteriors_of(takes, [KEYWORDS_10[w] for w in five], sounds, tested, accepted, seed)[0]
    known = np.isin(said, five)
    number = np.array([five.index(w) if w in five else -1 for w in said])
    heard = (posteriors.argmax(1) == number)[known].mean()
    taken = (posteriors.argmax(1) < 5)[~known].mean()
    return [right, detected, np.nan if expected is None else expected, heard, taken]


def from_clips(sounds: Sounds, row: tuple[int, int], seed: int, data: Path, n_voices: int) -> list[float]:
    """Measure a draw of clips, with other voices beside them."""
    rng = np.random.default_rng([0, seed])
    enrolled, tested = draw(sounds, *row, rng)
    takes = []
    for i in enrolled:
        with suppress(AudioError):  # a silent clip
            takes += takes_of({KEYWORDS_10[sounds.words[i]]: [data / sounds.names[i]]}, None, SAMPLE_RATE)
    takes += other_voices(takes, Encoder(threads=1), n_voices=n_voices, seed=seed)
    return figures_of(takes, sounds, tested, ACCEPTED, seed, rng)


def from_text(sounds: Sounds, engines: Sequence[str], n_voices: int, seed: int, spoken: Path) -> list[float]:
    """Measure a draw of voices."""
    takes = []
    for engine in engines:
        folder = spoken / f"{engine}-{n_voices}-{seed}"
        takes += speak(KEYWORDS_10, n_voices=n_voices, seed=seed, engines=[engine], folder=folder)
    rng = np.random.default_rng([0, seed])
    return figures_of(takes, sounds, np.arange(len(sounds.names)), ACCEPTED_SPOKEN, seed, rng)


def main() -> None:
    """Print the table, or write it as a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--text", action="append", default=[], metavar="ENGINE[,ENGINE...]")
    parser.add_argument("--no-clips", action="store_true")
    parser.add_argument("--voices", type=int, default=N_VOICES)
    parser.add_argument("--spoken", type=Path)
    parser.add_argument("--split", default=TEST)
    parser.add_argument("--draws", type=int, default=N_DRAWS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    sounds = read_clips(options.data, options.split)
    lines = []

    def show(name: str, draws: list[list[float]]) -> None:
        lines.append(f"| {name} | {' | '.join(percent(column) for column in np.array(draws).T)} |")
        print(lines[-1], flush=True)

    for name, row in () if options.no_clips else ROWS.items():
        for n_voices, how in ((options.voices, ""), (0, ", recordings alone")):
            show(name + how, [from_clips(sounds, row, seed, options.data, n_voices) for seed in range(options.draws)])
    with tempfile.TemporaryDirectory() as gone:
        for text in options.text:
            engines, spoken = text.split(","), options.spoken or Path(gone)
            draws = [from_text(sounds, engines, options.voices, seed, spoken) for seed in range(options.draws)]
            show(f"text, {options.voices} voices each of {', '.join(engines)}", draws)
    page = PAGE.format(
        n=len(sounds.names), split=options.split, n_speakers=len(set(sounds.speakers)), n_draws=options.draws,
        encoder=Encoder(threads=1).metadata["run"], rows="\n".join(lines),
    )  # fmt: skip
    if options.out:
        options.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
