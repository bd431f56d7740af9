"""From the microphone to the event: how long after a word's last sound is it given out?

    python -m benchmarks.inference.latency DATA [--model keywords10_long] [--split validation] [--clips 20] [--seed 1]

Recordings of single keywords (`--clips` of each, all if there are fewer) of a corpus in the official layout, each in
some 6 s: of digital silence, and of the corpus's noise recordings at 10 dB SNR. The sound comes in blocks as a
microphone at 48 kHz delivers them (kwspot/audio/microphone.py: 0.1 s, resampled without a seam) and goes through
`Spotting` with the settings that the model file holds, window by window (`Spotter`, a row every 40 ms) and as a stream
(`Stream`), on one thread.

    the word's end  where what stands out in the clip ends (kwspot/enrollment/endpoints.py, without its margin)
    given out       the end of the block with which `Spotting` returns the event, less the word's end
    known           the same for the block after which the word is `Spotting.pending`: what `listen`, the
                    page and the Wyoming server say
    compute         CPU milliseconds of taking that block; a block waits so long at least

Only words that are heard count: without an event of the word there is no delay. What PortAudio and the sound card hold
back before they deliver a block is not in it.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
import time

import numpy as np

from benchmarks.beside import machine, table, write_page
from kwspot import Spotter, Stream
from kwspot.audio.blocks import SHORT_BLOCK_S, Resampler
from kwspot.audio.reading import Waveform, read_waveform, resample
from kwspot.corpus.layout import VALIDATION, Clip, read_corpus
from kwspot.corpus.noise import NOISE_SPANS, UNHEARD_SPAN, read_noises
from kwspot.enrollment.endpoints import MARGIN_S, endpoints
from kwspot.inference.detector import keywords_of
from kwspot.inference.pipeline import Spotting, detection_settings
from kwspot.inference.streaming import SlidingWindow, StreamingModel
from kwspot.signal.level import mix
from kwspot.signal.noise import noise_crop

DEVICE_RATE = 48_000  # Hz
BEFORE_S, AFTER_S, JITTER_S = 2.0, 3.0, 0.1  # around a clip; so that words end anywhere in a block
SNR_DB = 10.0

PAGE = """# From the microphone to the event

Written by `{program} DATA`; its first lines say what is measured. {n} {split} recordings of
{n_words} words by {n_speakers} speakers, model `{run}`, seed {seed}. Seconds after the word's last sound,
median and 90 % of the words heard, on {machine}.

{table}

Settings are those of the model files:
{settings}.

`kwspot spot` gives an event out when its word has left the window, because only then is its beginning known: about a
second after the word. `kwspot listen`, the page and the Wyoming server say the word when it is known.
"""


@dataclass(frozen=True)
class Heard:
    """A word that was heard: seconds from its end until it was known and given out, and what the last block took."""

    known_s: float
    given_s: float
    compute_ms: float


def delivered(sound: Waveform, rate: int) -> Iterator[Waveform]:
    """Yield what comes of every block of the microphone, at the model's rate."""
    at_device, n = resample(sound, rate, DEVICE_RATE), round(SHORT_BLOCK_S * DEVICE_RATE)
    resampler = Resampler(DEVICE_RATE, rate)
    for start in range(0, len(at_device) - n + 1, n):
        yield resampler(at_device[start : start + n])


def listen(model: StreamingModel, sound: Waveform, word: str, end_s: float) -> Heard | None:
    """Let a sound with one word come in; return when the word was known and given out, None if it was not heard."""
    spotting = Spotting(model, detection_settings(model.metadata))
    known_s = None
    for i, block in enumerate(delivered(sound, model.sample_rate)):
        began = time.process_time()
        events = spotting.feed(block)
        took_ms = 1000 * (time.process_time() - began)
        now_s = (i + 1) * SHORT_BLOCK_S
        if known_s is None and spotting.pending and spotting.pending.word == word:
            known_s = now_s - end_s
        if any(event.word == word for event in events):
            given_s = now_s - end_s
            return Heard(given_s if known_s is None else known_s, given_s, took_ms)
    return None


def chosen(data: Path, split: str, words: list[str], n_each: int, rng: np.random.Generator) -> list[Clip]:
    """Draw so many clips of each word."""
    clips = [clip for clip in read_corpus(data).clips if clip.split == split]
    of_word = {word: [clip for clip in clips if clip.word == word] for word in words}
    return [those[int(i)] for those in of_word.values() for i in rng.permutation(len(those))[:n_each]]


def sounds(
    data: Path, clips: list[Clip], rate: int, noises: list[Waveform], rng: np.random.Generator
) -> Iterator[tuple[str, Waveform, float]]:
    """Yield (word, waveform, end of the word in s) of clips in the middle of quiet, or of noise if there is any."""
    for clip in clips:
        decoded = read_waveform(data / clip.name)
        waveform = resample(decoded.waveform, decoded.sample_rate, rate)
        before = round((BEFORE_S + rng.uniform(0, JITTER_S)) * rate)
        sound = np.pad(waveform, (before, round(AFTER_S * rate)))
        if noises:
            sound = mix(sound, noise_crop(rng, noises, len(sound)), SNR_DB, rate).clip(-1, 1)
        yield clip.word, sound, before / rate + endpoints(waveform, rate)[1] / rate - MARGIN_S


def row(name: str, around: str, n: int, found: list[Heard]) -> list[str]:
    """Write a row of the table."""
    both = [np.percentile([getattr(one, key) for one in found], [50, 90]) for key in ("known_s", "given_s")]
    p50, p90 = np.percentile([one.compute_ms for one in found], [50, 90])
    delays = [f"{figure:.2f}" for pair in both for figure in pair]
    return [name, around, f"{100 * len(found) / n:.0f} %", *delays, f"{p50:.1f}", f"{p90:.1f}"]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="keywords10_long")
    parser.add_argument("--split", default=VALIDATION)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    data: Path = options.data
    spotter, stream = Spotter.load(options.model, threads=1), Stream.load(options.model)
    rate, words = spotter.sample_rate, keywords_of(spotter.labels)
    clips = chosen(data, options.split, words, options.clips, np.random.default_rng(options.seed))
    span = NOISE_SPANS.get(options.split, UNHEARD_SPAN)
    noises = list(read_noises(data, read_corpus(data).noise, span, rate).values())
    ways: dict[str, Callable[[], StreamingModel]] = {
        "window by window": lambda: SlidingWindow(spotter),
        "stream": lambda: stream,
    }
    heading = ["way", "around", "heard", "known, s", "90 %", "given out, s", "90 %", "compute, ms", "90 %"]
    rows = []
    for around, noise in {"quiet": [], f"noise, {SNR_DB:g} dB": noises}.items():
        found: dict[str, list[Heard]] = {name: [] for name in ways}
        for word, sound, end_s in sounds(data, clips, rate, noise, np.random.default_rng(options.seed)):
            for name, opened in ways.items():
                if heard := listen(opened(), sound, word, end_s):
                    found[name].append(heard)
        rows += [row(name, around, len(clips), those) for name, those in found.items()]
    settings = {name: detection_settings(opened().metadata) for name, opened in ways.items()}
    write_page(
        __file__, PAGE, n=len(clips), split=options.split, n_words=len(words),
        n_speakers=len({clip.speaker for clip in clips}), run=spotter.metadata["run"], seed=options.seed,
        table=table(heading, rows),
        settings=",\n".join(
            f"{name}: threshold {one.threshold:g}, smoothing {one.smoothing_ms:g}, refractory {one.refractory_ms:g} ms"
            for name, one in settings.items()
        ),
        machine=machine("numpy", "onnxruntime"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
