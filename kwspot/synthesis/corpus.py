"""A corpus that synthesisers speak, in the official layout: the whole path from sound runs without a recording.

    engine says a text -> vocal tract, room, microphone (acoustics) -> DEST/<word>/<speaker>_nohash_0.wav
    texts that are no keyword                                       -> DEST/unknown/<speaker>_nohash_<n>.wav

A speaker is an engine's voice bent to another pitch, tempo and length of the vocal tract; its name is chosen so
that the official hash (corpus.which_split) puts one speaker in ten into validation and one into test. Every
speaker says every word, each time into another microphone, and some of the other texts. All is drawn from the seed,
one stream a purpose.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from kwspot.audio.reading import write_wav
from kwspot.corpus.install import CORPUS, check, claimed, place, read_marker
from kwspot.corpus.layout import LISTS, NOISE_FOLDER, STATE, TEST, TRAIN, VALIDATION, which_split
from kwspot.errors import ConfigError, KwspotError, MissingPartError
from kwspot.files import digest_of, write_text
from kwspot.seeding import rng_for
from kwspot.signal import channel
from kwspot.signal.channel import CLIP_LENGTH, SAMPLE_RATE
from kwspot.signal.level import quantized
from kwspot.signal.noise import babble, clicks, coloured_noise
from kwspot.synthesis.engines import ENGINES, Utterance, installed, make_ready
from kwspot.synthesis.negatives import Negative
from kwspot.synthesis.running import Engines, Speak
from kwspot.tasks import SILENCE, UNKNOWN, WORDS_35

NOISE_S = 60  # a noise file
TALKERS = 8  # in the babble
NOISE_RMS = 0.05  # of full scale
SPOKEN_PEAK = 0.02  # a quieter answer is a breath, not a word
ENDINGS = (".", ".", "!", "?")  # how a word falls or rises
N_NEGATIVES = 4  # texts that are no keyword, by each voice: `unknown` has as many clips as four keywords
N_SLOWEST = 8  # voices of an engine that are asked how long a phrase takes
LONGEST_S = 5.0  # a phrase
PIECE = 10  # clips of a text that one process speaks before progress is reported
SAID = "unknown.tsv"  # in STATE: what is said in the clips of `unknown`


@dataclass(frozen=True)
class Speaker:
    """Somebody who says every word; `vtlp`, `pitch` and `tempo` are ratios to the engine's own voice."""

    name: str  # 8 hex digits
    engine: str
    accent: str
    vtlp: float  # of formants: above 1 a shorter vocal tract
    pitch: float
    tempo: float
    liveliness: float


def cast(engine: str, n_voices: int, seed: int) -> list[Speaker]:
    """Draw the speakers of an engine: a tenth of them for validation and for test, two at least if there are ten."""
    held_out = max(round(n_voices / 10), 2 if n_voices >= 10 else n_voices // 3)
    splits = [VALIDATION] * held_out + [TEST] * held_out + [TRAIN] * (n_voices - 2 * held_out)
    return [_speaker(engine, number, seed, split) for number, split in enumerate(splits)]


def _speaker(engine: str, number: int, seed: int, split: str) -> Speaker:
    rng, info = rng_for(seed, "speaker", engine, number), ENGINES[engine]
    names = (sha256(f"{seed}/{engine}/{number}/{n}".encode()).hexdigest()[:8] for n in count())
    size = rng.uniform()  # small people have a short vocal tract and a high voice, by and large

    def between(limits: tuple[float, float], at: float) -> float:
        return float(limits[0] * (limits[1] / limits[0]) ** np.clip(at, -0.1, 1.1))

    return Speaker(
        name=next(name for name in names if which_split(name) == split),
        engine=engine,
        accent=info.accents[rng.integers(len(info.accents))],
        vtlp=between(info.vtlp, size + rng.normal(0, 0.15)),
        pitch=between(info.pitch, size + rng.normal(0, 0.2)),
        tempo=between(info.tempo, rng.uniform()),
        liveliness=rng.uniform(0.4, 1.7),
    )


@dataclass(frozen=True)
class Line:
    """What a speaker says, and the file it goes to, below the corpus folder."""

    speaker: Speaker
    text: str
    file: str


def say(speaker: Speaker, word: str, speak: Speak, seed: int, clip_length: int = CLIP_LENGTH) -> np.ndarray:
    """Let a speaker say a word, with its engine's `speak`, into a microphone: a clip (clip_length,) int16."""
    waveform, sample_rate, vtlp, rng = _uttered(speaker, word, speak, seed)
    return channel.record(waveform, sample_rate, vtlp, rng, clip_length)


def _uttered(
    speaker: Speaker, word: str, speak: Speak, seed: int
) -> tuple[np.ndarray, int, float, np.random.Generator]:
    """Return what an engine says, its sample rate, the speaker's vocal tract now, and the stream for what follows."""
    rng = rng_for(seed, "clip", speaker.name, word)
    vtlp = speaker.vtlp * rng.lognormal(0, 0.015)
    waveform, sample_rate = speak(
        Utterance(
            word,
            speaker.accent,
            # Resampling by the vtlp changes pitch and tempo too; what is asked of the engine makes up for it.
            pitch=speaker.pitch * rng.lognormal(0, 0.05) / vtlp,
            tempo=speaker.tempo * rng.lognormal(0, 0.08) / vtlp,
            liveliness=speaker.liveliness,
            ending=str(rng.choice(ENDINGS)),
            seed=int(rng.integers(2**31)),
        )
    )
    if np.abs(waveform).max(initial=0) < SPOKEN_PEAK:
        raise KwspotError(f"the engine '{speaker.engine}' says nothing for '{word}'; spell the word in another way")
    return waveform, sample_rate, vtlp, rng


def clip_length_for(
    phrases: Sequence[str],
    speakers: Sequence[Speaker],
    seed: int,
    running: Engines,
    report: Callable[..., None] = lambda done, total, message="": None,
) -> int:
    """Return how many samples a clip needs for phrases: the slowest voices say them, and steps are rounded up.

    What they say is kept for `speak_lines`. A second at least; ConfigError if a phrase takes longer than 5 s.
    """
    longest_s = 0.0
    for engine in dict.fromkeys(speaker.engine for speaker in speakers):
        those = sorted((s for s in speakers if s.engine == engine), key=lambda speaker: speaker.tempo)
        for phrase in phrases:
            report(0, None, f"how long '{phrase}' takes ({engine})")
            for speaker in those[:N_SLOWEST]:
                waveform, sample_rate, vtlp, _ = _uttered(speaker, phrase, running.keeping(engine), seed)
                longest_s = max(longest_s, len(channel.trim(waveform, sample_rate)) / sample_rate / vtlp)
            if longest_s > LONGEST_S:
                raise ConfigError(f"'{phrase}' takes {longest_s:.1f} s; a keyword is {LONGEST_S:g} s long at most")
    return max(CLIP_LENGTH, channel.STEP * int(np.ceil(longest_s * SAMPLE_RATE / channel.STEP)))


def synthesize_corpus(
    dest: Path,
    *,
    n_voices: int = 40,
    seed: int = 1,
    engines: Sequence[str] | None = None,
    words: Sequence[str] = WORDS_35,
    negatives: Sequence[Negative] | None = None,
    workers: int = 2,
    report: Callable[..., None] = lambda done, total, message="": None,
) -> dict[str, Any]:
    """Speak a corpus into `dest`, whole or not at all, unless it is there; return its marker.

    `n_voices` an engine, all that are installed and not slow unless `engines` names some. With `negatives`, every voice
    says four of them into the folder `unknown`, and a clip is as long as the longest of the words needs (`clip_ms` of
    the marker); without, a second.

    MissingPartError if no engine is installed, ConfigError if `dest` holds something else. The bytes depend on the
    other arguments only, not on `workers`, the number of processes.
    """
    versions = chosen_engines(engines, report)
    if n_voices < 1 or not words or len(set(words)) < len(words) or not all(map(_names_a_folder, words)):
        raise ConfigError(
            "a spoken corpus needs at least one voice, and different words that can name a folder, none of them "
            f"'{UNKNOWN}' or '{SILENCE}'"
        )
    speakers = [speaker for engine in versions for speaker in cast(engine, n_voices, seed)]
    plan: dict[str, Any] = {"engines": versions, "n_voices": n_voices, "seed": seed, "words": list(words)}
    lines = [Line(speaker, word, _file(word, speaker.name)) for word in words for speaker in speakers]
    if negatives is not None:
        plan["negatives"] = digest_of([negative.text for negative in negatives])
        lines += _shared_out(speakers, [negative.text for negative in negatives], rng_for(seed, "negatives"))

    with claimed(dest, CORPUS), Engines() as running:
        marker = read_marker(dest)
        if marker and all(marker.get(key) == value for key, value in plan.items()) and check(dest).complete:
            return marker
        if negatives is not None:
            if marker is not None:
                _require_same_plan(dest, marker, plan)
            plan["clip_ms"] = 1000 * clip_length_for(words, speakers, seed, running, report) // SAMPLE_RATE
            write_text(dest / STATE / SAID, _what_is_said(lines, negatives))

        def fill(folder: Path) -> None:
            clip_length = SAMPLE_RATE * plan.get("clip_ms", 1000) // 1000
            speak_lines(folder, lines, seed, clip_length, running, min(workers, os.cpu_count() or 1), report)
            split_of = {speaker.name: which_split(speaker.name) for speaker in speakers}
            for file, split in LISTS.items():
                listed = sorted(line.file for line in lines if split_of[line.speaker.name] == split)
                (folder / file).write_text("\n".join(listed), encoding="utf-8")  # no newline at the end: the archives'
            heard = [line.file for line in lines[: len(words) * len(speakers)] if split_of[line.speaker.name] == TRAIN]
            _write_noises(folder, heard, rng_for(seed, "noise"))

        return place(dest, CORPUS, fill, name="synthetic", source="synthetic", sha256=None, **plan)


def _shared_out(speakers: Sequence[Speaker], texts: Sequence[str], rng: np.random.Generator) -> list[Line]:
    """Give every speaker a few of the texts, so that each is said about as often."""
    n_each = min(N_NEGATIVES, len(texts))
    turns = (texts[int(i)] for _ in count() for i in rng.permutation(len(texts)))
    lines = []
    for i in rng.permutation(len(speakers)):
        mine: list[str] = []
        while len(mine) < n_each:
            if (text := next(turns)) not in mine:
                mine.append(text)
        name = speakers[int(i)].name
        lines += [Line(speakers[int(i)], text, _file(UNKNOWN, name, n)) for n, text in enumerate(mine)]
    return sorted(lines, key=lambda line: line.file)


def _what_is_said(lines: Sequence[Line], negatives: Sequence[Negative]) -> str:
    """Write a table: file, what is said in it, why, and for which keyword."""
    known = {negative.text: negative for negative in negatives}
    said = [(line, known[line.text]) for line in lines if line.file.startswith(f"{UNKNOWN}/")]
    rows = ["file\ttext\tkind\tkeyword", *(f"{line.file}\t{n.text}\t{n.kind}\t{n.keyword}" for line, n in said)]
    return "\n".join(rows) + "\n"


def _require_same_plan(dest: Path, marker: dict[str, Any], plan: dict[str, Any]) -> None:
    if differs := [key for key, value in plan.items() if marker.get(key) != value]:
        words = marker.get("words") or []
        shown = ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")
        raise ConfigError(
            f"{dest}: holds another corpus, {marker.get('name')}{f' of {shown}' if words else ''}: other "
            f"{' and '.join(differs)}; delete it, or give another folder"
        )


def _names_a_folder(word: str) -> bool:
    plain = word.isprintable() and word[:1].isalnum() and "/" not in word and "\\" not in word
    return plain and word.lower() not in (UNKNOWN, SILENCE)


def _file(word: str, name: str, take: int = 0) -> str:
    return f"{word}/{name}_nohash_{take}.wav"


def chosen_engines(
    engines: Sequence[str] | None, report: Callable[..., None] = lambda done, total, message="": None
) -> dict[str, str]:
    """Return the versions of the engines to use, ready to speak: those named, else all that are not slow.

    MissingPartError if one is not installed, KwspotError if its voices cannot be fetched.
    """
    there = installed()
    if unknown := [name for name in engines or () if name not in ENGINES]:
        raise ConfigError(f"no engine '{unknown[0]}'; known: {', '.join(ENGINES)}")
    if missing := [name for name in engines or () if name not in there]:
        raise MissingPartError(f"the engine '{missing[0]}' is not installed", ENGINES[missing[0]].extra)
    if not there:
        raise MissingPartError("no speech synthesiser is installed", "synth")
    chosen = engines or [name for name in there if not ENGINES[name].slow] or list(there)
    for name in chosen:
        make_ready(name, report)
    return {name: version for name, version in there.items() if name in chosen}


def speak_lines(
    folder: Path,
    lines: Sequence[Line],
    seed: int,
    clip_length: int,
    running: Engines,
    workers: int,
    report: Callable[..., None],
) -> None:
    """Write every clip: the engines work in processes of their own, one each for every thread here."""
    # A text at a time: hibari then runs its network once for many speakers.
    tasks: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        tasks.setdefault((line.speaker.engine, line.text), []).append(line)
    pieces = [(*task, said[i : i + PIECE]) for task, said in tasks.items() for i in range(0, len(said), PIECE)]

    def speak(engine: str, text: str, said: Sequence[Line]) -> tuple[int, str]:
        for line in said:
            clip = say(line.speaker, text, running.speaking(engine), seed, clip_length)
            write_wav(folder / line.file, clip, SAMPLE_RATE)
        return len(said), f"{engine} {text}"

    for name in dict.fromkeys(line.file.split("/")[0] for line in lines):
        (folder / name).mkdir()
    done, total = 0, len(lines)
    with ThreadPoolExecutor(workers) as pool:
        try:
            report(0, total, "")
            for future in as_completed([pool.submit(speak, *piece) for piece in pieces]):
                n_said, message = future.result()
                done += n_said
                report(done, total, message)
        finally:
            pool.shutdown(cancel_futures=True)


def _write_noises(folder: Path, spoken: Sequence[str], rng: np.random.Generator) -> None:
    """Write the background noises; the babble is of the clips `spoken`."""
    (folder / NOISE_FOLDER).mkdir()
    n_samples = NOISE_S * SAMPLE_RATE
    said = [soundfile.read(folder / spoken[int(i)])[0] for i in rng.integers(len(spoken), size=TALKERS * NOISE_S)]
    talks = [np.concatenate(said[i::TALKERS]) for i in range(TALKERS)]
    swell = 1 + 0.5 * np.sin(2 * np.pi * 0.11 * np.arange(n_samples) / SAMPLE_RATE)
    noises: dict[str, np.ndarray] = {
        "white_noise": coloured_noise(rng, n_samples),
        "pink_noise": coloured_noise(rng, n_samples, slope=-1),
        "swelling_brown_noise": swell * coloured_noise(rng, n_samples, slope=-2),
        "mains_hum": coloured_noise(rng, n_samples, slope=-1, hum_db=20),
        "clicks": clicks(rng, n_samples),
        "babble": babble(rng, talks, n_samples, SAMPLE_RATE),
    }
    for name, wave in noises.items():
        levelled = quantized(wave * NOISE_RMS / wave.std())
        write_wav(folder / NOISE_FOLDER / f"{name}.wav", levelled, SAMPLE_RATE)
