"""Wake phrases from text alone: how many are heard in running sound, at how many false alarms an hour of speech?

    python -m benchmarks.enrollment.phrases DATA RECORDINGS [--phrase TEXT]... [--utterances 40] [--seed 1]
        [--split validation] [--spoken FOLDER]

Each phrase is enrolled alone, as `kwspot enroll NAME --text PHRASE --engine hibari --engine pico` does it. Then voices
say it that enrolling did not use, those of Kokoro: `--utterances` of them, each once, one voice or between two, and
bent in pitch, tempo and vocal tract (kwspot/synthesis), through a room and a microphone drawn for each, with 1 to 3 s
between them, all in the noise recordings of DATA (the part of `--split`) at 10 dB SNR. These are synthetic voices too:
no recordings of people saying wake phrases are at hand; and Kokoro shares with hibari the rules that turn letters into
phonemes.

    heard           an event that overlaps the phrase, or lies within 0.5 s of it
    false alarms    all events in the recordings of people with transcripts in RECORDINGS (corpus/recordings.py), of the
                    speakers of `--split`
    threshold       the one that the model file comes with, meant to give one false alarm an hour; and of all
                    thresholds the one that hears most at no more than one

The windows of all phrases of one length are embedded once, with the encoder; the heads are those of the model files.
What is said is kept in --spoken, so that only the first run waits for it.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
import tempfile

import numpy as np
from numpy.typing import NDArray
import onnx
from onnx.numpy_helper import to_array
import soundfile

from benchmarks.beside import table, write_page
from kwspot.audio.blocks import file_blocks
from kwspot.audio.reading import Waveform, read_waveform
from kwspot.corpus.layout import VALIDATION, read_corpus
from kwspot.corpus.noise import NOISE_SPANS, UNHEARD_SPAN, read_noises
from kwspot.corpus.recordings import read_recordings
from kwspot.enrollment.encoder import Encoder
from kwspot.enrollment.endpoints import MARGIN_S, endpoints
from kwspot.enrollment.enroll import enroll_takes
from kwspot.enrollment.head import Head
from kwspot.enrollment.spoken import N_VOICES, speak
from kwspot.evaluation.false_alarms import at_rate
from kwspot.evaluation.recordings import is_near
from kwspot.inference.detector import DetectionSettings, Detector, Event, Smoother
from kwspot.inference.pipeline import detection_settings
from kwspot.signal.level import active_level, mix
from kwspot.signal.noise import noise_crop
from kwspot.synthesis.corpus import cast, say
from kwspot.synthesis.running import Engines

PHRASES = (
    "view glass", "computer", "smart mirror", "hey jarvis", "alexa", "lights off", "good morning", "hey computer",
)  # fmt: skip
ENROLLED_BY, SAID_BY = ("hibari", "pico"), "kokoro"
VOICES_SEED = 11  # of those that are tested with
CLIP_LENGTH, RATE, STEP = 48_000, 16_000, 640  # samples; Hz; 40 ms, as `kwspot spot`
PAUSE_S, LEVEL_DB, SNR_DB = (1.0, 3.0), -26.0, 10.0
AT_ONCE = 32
THRESHOLDS = [round(float(t), 4) for t in 1 / (1 + np.exp(-np.linspace(1, 8, 57)))]

PAGE = """# Wake phrases from text alone

Written by `{program} DATA RECORDINGS`; its first lines say what is measured.
**The voices that say the phrases are synthetic**: {n} of Kokoro, once each, in noise at 10 dB SNR. Others enrolled
them, {n_voices} voices each of {engines}. False alarms are those in {hours:.2f} hours of people who read aloud
({n_recordings} recordings, {split}). Seed {seed}. The bundled encoder has heard Kokoro say other words in training.

{table}

Goal: 85 % heard at no more than one false alarm an hour.
"""


@dataclass(frozen=True)
class Running:
    """A sound as the encoder sees it: embeddings (n, n_features) of the windows that end every 40 ms."""

    embeddings: NDArray[np.float32]
    seconds: float


@dataclass(frozen=True)
class Model:
    """An enrolled phrase: the head of its file, its window in samples, and the settings it comes with."""

    phrase: str
    head: Head
    window_length: int
    settings: DetectionSettings

    def smoothed(self, sound: Running) -> NDArray[np.floating]:
        """Return the smoothed posteriors (n, n_classes)."""
        return Smoother(self.settings.smoothing_ms, STEP / RATE).feed(self.head.posteriors(sound.embeddings))

    def events(self, smoothed: NDArray[np.floating], threshold: float) -> list[Event]:
        """Return the events at a threshold."""
        if smoothed[:, 0].max() < threshold:
            return []
        settings = DetectionSettings(threshold, self.settings.smoothing_ms, self.settings.refractory_ms)
        detector = Detector(self.head.labels, settings, step_s=STEP / RATE, span_s=self.window_length / RATE)
        return [*detector.feed(smoothed), *detector.finish()]


def enroll(phrase: str, encoder: Encoder, seed: int, spoken: Path) -> Model:
    """Enroll a phrase from text, and take the head out of the file."""
    folder = spoken / f"enrolled-{phrase.replace(' ', '_')}-{seed}"
    takes = speak([phrase], n_voices=N_VOICES, seed=seed, engines=ENROLLED_BY, folder=folder)
    made = enroll_takes(takes, encoder, seed=seed)
    tensors = {each.name: to_array(each) for each in onnx.load_from_string(made.content).graph.initializer}
    head = Head(tuple(made.metadata["labels"]), *(tensors[f"head_{name}"] for name in ("mean", "weight", "bias")))
    return Model(phrase, head, int(made.metadata["clip_length"]), detection_settings(made.metadata))


def said(phrases: Sequence[str], n: int, spoken: Path) -> dict[str, list[Waveform]]:
    """Let Kokoro's voices say every phrase, or read what they said."""
    found: dict[str, list[Waveform]] = {}
    speakers = cast(SAID_BY, n, VOICES_SEED)
    with Engines() as running:
        for phrase in phrases:
            folder = spoken / f"{SAID_BY}-{phrase.replace(' ', '_')}"
            folder.mkdir(parents=True, exist_ok=True)
            found[phrase] = []
            for speaker in speakers:
                path = folder / f"{speaker.name}.wav"
                if not path.is_file():
                    clip = say(speaker, phrase, running.speaking(SAID_BY), VOICES_SEED, CLIP_LENGTH)
                    soundfile.write(path, clip, RATE, "PCM_16")
                found[phrase].append(read_waveform(path).waveform)
            print(f"{SAID_BY} has said '{phrase}'", flush=True)
    return found


def laid_out(
    clips: Sequence[Waveform], noises: Sequence[Waveform], rng: np.random.Generator
) -> tuple[Waveform, list[tuple[float, float]]]:
    """Lay clips one after the other into noise; return the sound, and from when to when each phrase sounds."""
    parts: list[Waveform] = []
    spans, at = [], 0
    for clip in clips:
        pause = round(RATE * rng.uniform(*PAUSE_S))
        start, end = endpoints(clip, RATE)
        spans.append(((at + pause + start) / RATE + MARGIN_S, (at + pause + end) / RATE - MARGIN_S))
        level = 10 ** (LEVEL_DB / 20)
        part = np.pad(clip * (level / active_level(clip, RATE)), (pause, 0))
        parts.append(mix(part, noise_crop(rng, noises, len(part)), SNR_DB, RATE).clip(-1, 1))
        at += len(part)
    return np.concatenate(parts), spans


def embedded(sound: Waveform, window_length: int, encoder: Encoder) -> Running:
    """Embed the windows of a sound, as the model file would; silence before it and after."""
    padded = np.pad(sound, (window_length - STEP, window_length))
    windows = np.lib.stride_tricks.sliding_window_view(padded, window_length)[::STEP]
    pieces = [encoder.embed(windows[i : i + AT_ONCE]) for i in range(0, len(windows), AT_ONCE)]
    return Running(np.concatenate(pieces), len(sound) / RATE)


def read_aloud(folder: Path, split: str, phrases: Sequence[str]) -> Iterator[Waveform]:
    """Yield the recordings of a split in which people say other things."""
    for recording in read_recordings(folder):
        if recording.split == split and recording.text is not None:
            text = f" {' '.join(recording.said)} "
            if not any(f" {phrase} " in text for phrase in phrases):
                yield np.concatenate(list(file_blocks(folder / recording.name, RATE)))


def row(model: Model, sound: Running, spans: Sequence[tuple[float, float]], speech: Sequence[Running]) -> list[float]:
    """Return heard and false alarms an hour at the file's threshold, heard and threshold at one an hour."""
    own, smoothed = model.settings.threshold, model.smoothed(sound)
    hours = sum(each.seconds for each in speech) / 3600
    in_speech = [model.smoothed(each) for each in speech]
    points = []
    for threshold in (own, *THRESHOLDS):
        events = [event for event in model.events(smoothed, threshold) if event.word == model.phrase]
        hits = [any(is_near(event, *span) for event in events) for span in spans]
        alarms = sum(len(model.events(each, threshold)) for each in in_speech)
        points.append([threshold, alarms / hours, 1 - float(np.mean(hits))])
    best = at_rate(points, 1.0)
    return [1 - points[0][2], points[0][1], own, 1 - best[2], best[1], best[0]]


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--phrase", action="append", default=[])
    parser.add_argument("--utterances", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--split", default=VALIDATION)
    parser.add_argument("--spoken", type=Path)
    options = parser.parse_args()
    phrases, encoder = options.phrase or list(PHRASES), Encoder(threads=1)
    span = NOISE_SPANS.get(options.split, UNHEARD_SPAN)
    noises = list(read_noises(options.data, read_corpus(options.data).noise, span, RATE).values())
    with tempfile.TemporaryDirectory() as gone:
        spoken = options.spoken or Path(gone)
        models = [enroll(phrase, encoder, options.seed, spoken) for phrase in phrases]
        clips = said(phrases, options.utterances, spoken)
    speech: dict[int, list[Running]] = {}
    figures = []
    for model in models:
        length = model.window_length
        if length not in speech:
            sounds = read_aloud(options.recordings, options.split, phrases)
            speech[length] = [embedded(sound, length, encoder) for sound in sounds]
        sound, spans = laid_out(clips[model.phrase], noises, np.random.default_rng(options.seed))
        figures.append(row(model, embedded(sound, length, encoder), spans, speech[length]))
        print(model.phrase, json.dumps(figures[-1]), flush=True)
    rows = [[model.phrase, *_written(each)] for model, each in zip(models, figures, strict=True)]
    rows.append(["mean", *_written(np.mean(figures, axis=0).tolist())])
    heading = ["phrase", "heard, %", "false alarms an hour", "threshold", "best: heard, %", "an hour", "threshold"]
    measured = next(iter(speech.values()))
    write_page(
        __file__, PAGE, n=options.utterances, n_voices=N_VOICES, engines=" and ".join(ENROLLED_BY),
        hours=sum(each.seconds for each in measured) / 3600, n_recordings=len(measured), split=options.split,
        seed=options.seed, table=table(heading, rows),
    )  # fmt: skip


def _written(figures: Sequence[float]) -> list[str]:
    heard, alarms, threshold, best, best_alarms, best_threshold = figures
    return [
        f"{100 * heard:.1f}", f"{alarms:.2f}", f"{threshold:.3f}", f"{100 * best:.1f}", f"{best_alarms:.2f}",
        f"{best_threshold:.3f}",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
