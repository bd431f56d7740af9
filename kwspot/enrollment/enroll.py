"""Takes -> a model file: embed them, fit the head, say what to expect, choose the operating point.

    enroll_takes(takes, encoder) -> Enrolled: the bytes of the file, and what was found out about it
    enroll({"word": [clips]})    -> Spotter

Nothing is written before all is done: `write` puts the file in place whole.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from kwspot import __version__
from kwspot.enrollment import model_file
from kwspot.enrollment.background import Background, generated_noise, read_background
from kwspot.enrollment.clips import Take, require_distinct, takes_of
from kwspot.enrollment.encoder import Encoder
from kwspot.enrollment.examples import Examples, Source, embed_takes, window_length_for
from kwspot.enrollment.expected import Expected, expect
from kwspot.enrollment.fitting import fit_examples, require_speech
from kwspot.enrollment.head import Head
from kwspot.enrollment.operating import ACCEPTED, ACCEPTED_SPOKEN, THRESHOLDS, false_alarms_per_hour, threshold_for
from kwspot.enrollment.spoken import N_VOICES
from kwspot.enrollment.voices import other_voices
from kwspot.errors import ConfigError
from kwspot.files import locked, sha256_of_file, written_ns, written_whole
from kwspot.inference.spotter import SCHEMA, Spotter
from kwspot.seeding import rng_for, seed_for
from kwspot.tasks import SILENCE, UNKNOWN

KIND = "enrolled"
SMOOTHING_MS, REFRACTORY_MS = 200.0, 600.0
BEFORE_MS, AFTER_MS = 360.0, 290.0  # that events lack of their words; with them nine in ten cover either end (log.md)
PER_HOUR, RAREST_ASKED = 1.0, 0.01  # false alarms


@dataclass(frozen=True)
class Enrolled:
    """A model file's bytes, its metadata, and what to expect of it."""

    content: bytes
    metadata: dict[str, Any]
    expected: Expected

    @property
    def recorded(self) -> list[str]:
        """The words of which there are recordings."""
        return self._words(spoken=False)

    @property
    def spoken(self) -> list[str]:
        """The words that synthesisers say."""
        return self._words(spoken=True)

    @property
    def reached(self) -> float | None:
        """The fraction of the clips left out whose word reaches the threshold; None where none were left out."""
        missed = self.expected.missed(np.array([self.metadata["spotting"]["threshold"]]))
        return None if missed is None else 1 - float(missed[0])

    @property
    def background(self) -> dict[str, int]:
        """How many clips of other speech, and of noise, came with the words."""
        kinds = {UNKNOWN: "other speech", SILENCE: "noise"}
        sources = self.metadata["enrollment"]["sources"]
        return dict(Counter(kinds[s["word"]] for s in sources if s["word"] in kinds and not s["spoken"]))

    def _words(self, *, spoken: bool) -> list[str]:
        sources = self.metadata["enrollment"]["sources"]
        return [
            w for w in self.metadata["labels"][:-2] if any(s["word"] == w and s["spoken"] is spoken for s in sources)
        ]

    def write(self, path: Path) -> Path:
        """Write the file, whole or not at all."""
        with written_whole(path) as partial:
            partial.write_bytes(self.content)
        return path

    def replace(self, path: Path, written: int | None) -> Path:
        """Write the file where one was `written` at that time, or none: what another enroll wrote since is not lost.

        KwspotError if another writes it now, ConfigError if another did; written_ns (files) says the time.
        """
        with locked(path.with_suffix(".lock"), f"{path}: another enroll writes it; run this one again"):
            if written_ns(path) != written:
                raise ConfigError(f"{path}: changed while this was made, and left as it is; run this again")
            return self.write(path)


def enroll(
    words: Mapping[str, Iterable[Any]],
    sample_rate: int | None = None,
    *,
    path: str | Path | None = None,
    false_alarms_per_hour: float = 1.0,
    voices: int = N_VOICES,
    seed: int = 1,
) -> Spotter:
    """Make a spotter of words: of each some paths, or waveforms (n_samples,) at `sample_rate` Hz (default 16 kHz).

    The words `unknown` and `silence` stand for other speech and for noise. So many `voices` of every fast synthesiser
    that is installed say the words too, where their names are English for what was recorded. With `path` the model is
    also written there.
    MissingError without a file, ConfigError or IntegrityError for clips that cannot be used, ValueError for samples or
    a rate that are none, ConfigError for settings that make no sense.
    """
    require_rate(false_alarms_per_hour)
    if not isinstance(words, Mapping):
        raise ConfigError(f'clips of each word are needed, {{"word": [clip]}}, got {type(words).__name__}')
    if voices < 0:
        raise ConfigError(f"voices: 0 or more is needed, got {voices}")
    encoder = Encoder(threads=1)
    takes = takes_of(words, sample_rate, encoder.sample_rate)
    takes += other_voices(takes, encoder, n_voices=voices, seed=seed)
    enrolled = enroll_takes(takes, encoder, per_hour=false_alarms_per_hour, seed=seed)
    if path is not None:
        enrolled.write(Path(path))
    return Spotter(Path(path or "enrolled"), content=enrolled.content)


def require_rate(per_hour: float) -> None:
    """Refuse false alarms an hour that no threshold follows from: ConfigError."""
    if not RAREST_ASKED <= per_hour < inf:
        raise ConfigError(f"false alarms per hour: a number from {RAREST_ASKED:g} on is needed, got {per_hour:g}")


def enroll_takes(
    takes: Sequence[Take],
    encoder: Encoder,
    *,
    per_hour: float | None = None,
    accepted: float | None = None,
    added_to: Path | None = None,
    seed: int = 1,
    report: Callable[..., None] = lambda done, total: None,
) -> Enrolled:
    """Make a model of takes, and of those that a model file was made of.

    `per_hour` false alarms are allowed in an hour of other people's speech, by default 1, or as many as the model that
    is added to allows; the fraction `accepted` of other words is taken for one of these, by default fewer where there
    are recordings (operating.py). ConfigError for the same clip twice, or words that do not fit into the window of the
    model they are added to; IntegrityError for a word that is only noise.
    """
    if not any(take.is_keyword for take in takes):
        raise ConfigError("no words to enroll: only clips of unknown speech or noise")
    window_length = window_length_for(takes, encoder)
    before, allowed = _before(added_to, encoder, window_length) if added_to else (None, PER_HOUR)
    takes = new_takes(takes, before.sources if before else ())
    takes = _fewer_others(takes, before.sources) if before else takes
    if not any(take.is_keyword or not take.spoken for take in takes):
        raise ConfigError(f"{added_to}: all of these clips are in it already; nothing to add")
    require_distinct(takes, {source.digest: source.name for source in before.sources} if before else {})
    window_length = before.window_length if before else window_length
    rng = rng_for(seed, "variants")
    examples = embed_takes(takes, encoder, window_length, rng, report)
    examples = before.joined(examples) if before else examples
    noises = encoder.embed(generated_noise(window_length, rng_for(seed, "noise")))
    background = read_background(encoder, window_length).without(examples.keywords)
    require_speech(examples, background, noises)
    if accepted is None:
        heard = [source for source in examples.sources if not source.spoken]
        accepted = ACCEPTED if any(source.word in examples.keywords for source in heard) else ACCEPTED_SPOKEN
    head = fit_examples(examples, background, noises, accepted=accepted)
    expected = expect(examples, background, noises, seed_for(seed, "folds"), accepted)
    metadata = _metadata(encoder, head, examples, seed) | {
        "accuracy_validation": expected.right,
        "spotting": _spotting(head, background, expected, allowed if per_hour is None else per_hour),
        "enrollment": {
            "sources": [asdict(source) for source in examples.sources],
            "expected": {key: value for key, value in asdict(expected).items() if key != "posteriors"},
        },
    }
    return Enrolled(model_file.build(encoder.path, head, examples.embeddings, metadata), metadata, expected)


def new_takes(takes: Sequence[Take], before: Iterable[Source]) -> list[Take]:
    """Leave out takes that came before as the same word, and what synthesisers say that is there already."""
    known = {(source.word, source.digest) for source in before}
    said = {digest for _, digest in known} | {take.digest for take in takes if not take.spoken}
    new = []
    for take in takes:
        if not (take.digest in said if take.spoken else (take.word, take.digest) in known):
            new.append(take)
        if take.spoken:
            said.add(take.digest)
    return new


def _fewer_others(takes: list[Take], before: Iterable[Source]) -> list[Take]:
    """Keep so many of the other texts that voices say as there would be of all words enrolled at once."""
    words = {source.word for source in before if source.spoken} - {UNKNOWN}
    if not words:
        return takes
    added = {take.word for take in takes if take.spoken and take.is_keyword} - words
    others = [i for i, take in enumerate(takes) if take.spoken and not take.is_keyword]
    n_kept = round(len(others) * len(added) / len(words | added))
    kept = {others[at] for at in np.linspace(0, len(others) - 1, n_kept).astype(int)}
    return [take for i, take in enumerate(takes) if i in kept or take.is_keyword or not take.spoken]


def _before(path: Path, encoder: Encoder, window_length: int) -> tuple[Examples, float]:
    """Read what a model was made of and its false alarms an hour, if words of such a window can be added to it."""
    before, metadata = model_file.read_examples(path)
    if metadata.get("encoder_sha256") != sha256_of_file(encoder.path):
        raise ConfigError(f"{path}: made with the encoder of another kwspot; enroll all words anew, with --again")
    if window_length > before.window_length:
        window_s, needed_s = before.window_length / encoder.sample_rate, window_length / encoder.sample_rate
        raise ConfigError(
            f"{path}: its window is {window_s:.2f} s and the new words need {needed_s:.2f} s; "
            "enroll all words together, with --again"
        )
    return before, float((metadata.get("spotting") or {}).get("target_per_hour", PER_HOUR))


def _metadata(encoder: Encoder, head: Head, examples: Examples, seed: int) -> dict[str, Any]:
    known = encoder.metadata
    n_head = head.weight.size + head.bias.size
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "labels": list(head.labels),
        "sample_rate": encoder.sample_rate,  # Hz
        "clip_length": examples.window_length,  # samples
        "win_length": known["win_length"],  # samples
        "front_end": known["front_end"] | {"clip_ms": 1000 * examples.window_length / encoder.sample_rate},
        "encoder": known["run"],
        "encoder_sha256": sha256_of_file(encoder.path),
        "seed": seed,
        "n_parameters": known["n_parameters"] + n_head,
        "macs": round(known["macs"] * examples.window_length / encoder.clip_length) + n_head,
        "accuracy_test": None,
        "kwspot": __version__,
    }


def _spotting(head: Head, background: Background, expected: Expected, per_hour: float) -> dict[str, Any]:
    """Choose the threshold from held-out speech; `curve` holds [threshold, false alarms per hour, misses]."""
    held_out, thresholds = background.part(held_out=True), np.array(THRESHOLDS)
    alarms, missed = false_alarms_per_hour(head, held_out, thresholds), expected.missed(thresholds)
    curve = [] if missed is None else [
        [float(t), round(float(a), 3), round(float(m), 4)] for t, a, m in zip(thresholds, alarms, missed, strict=True)
    ]  # fmt: skip
    return {
        "threshold": round(threshold_for(head, held_out, per_hour), 5),
        "smoothing_ms": SMOOTHING_MS,
        "refractory_ms": REFRACTORY_MS,
        "before_ms": BEFORE_MS,
        "after_ms": AFTER_MS,
        "hours": background.speech_hours,
        "target_per_hour": per_hour,
        "curve": curve,
    }
