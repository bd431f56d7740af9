"""Speech synthesisers, each in a process of its own: an utterance goes in, a waveform comes out.

    Engine("pico").speak(Utterance("yes")) -> waveform (n_samples,) float32 in [-1, 1], sample_rate

`python -m kwspot.synthesis.engines pico` answers each JSON line on stdin with "<II" (sample_rate, n_samples) and the
samples. The process keeps the GPL library of espeak-ng out of ours, lets the engines use another core, and
gives SVOX Pico, which reads memory it never wrote, the zeroed memory without which it never speaks alike twice.
"""

from collections.abc import Callable
from contextlib import suppress
import ctypes
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
import json
import os
from pathlib import Path
import struct
import subprocess
import sys
import tempfile
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kwspot.errors import ConfigError, KwspotError, MissingPartError
from kwspot.synthesis import kokoro

Waveform = NDArray[np.float32]

_HEADER = struct.Struct("<II")  # sample_rate, n_samples
# glibc, and macOS's allocator: hand out every large block fresh from the system, which zeroes it.
_FRESH_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MallocLargeCache": "0"}
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Utterance:
    """A word and how to say it; the ratios are to the engine's own pitch, tempo and liveliness of intonation."""

    word: str
    accent: str
    pitch: float = 1.0
    tempo: float = 1.0
    liveliness: float = 1.0
    ending: str = "."
    seed: int = 0


@dataclass(frozen=True)
class EngineInfo:
    """An engine: its distributions on PyPI, the extra that installs them, and how far its voice can be bent.

    `vtlp`, `pitch` and `tempo` are the ratios between which it still says words that can be told apart.
    """

    distributions: tuple[str, ...]  # the characteristic one first
    extra: str
    accents: tuple[str, ...]
    vtlp: tuple[float, float]
    pitch: tuple[float, float]
    tempo: tuple[float, float]
    slow: bool = False  # half a second of a core for a word: speaks a corpus only where it is named


# American accents come often, as in the recordings; Scotland, the Caribbean and others are harder to tell apart.
_ESPEAK_ACCENTS = (*["en-US"] * 6, "en-US-nyc", "en", "en-GB-x-rp", "en-GB-x-rp")
_ESPEAK_VARIANTS = (  # those whose words can be told apart; the robots, whisperers and others cannot
    "", "f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "Alex", "Andrea", "Annie",
    "Denis", "Diogo", "Gene", "Gene2", "Henrique", "Hugo", "Jacky", "Mario", "Mike", "Nguyen", "Reed", "Storm",
    "adam", "anika", "antonio", "aunty", "belinda", "benjamin", "caleb", "ed", "edward", "grandma", "grandpa",
    "iven", "iven2", "john", "max", "michel", "miguel", "pablo", "paul", "pedro", "quincy", "rob", "robert",
    "sandro", "steph", "steph2", "steph3", "victor",
)  # fmt: skip

ENGINES = {
    "hibari": EngineInfo(("hibari-tts",), "synth", ("us", "us2"), (0.78, 1.04), (0.42, 1.25), (0.65, 1.1)),
    "pico": EngineInfo(("py-nanotts",), "synth", ("en-US", "en-GB"), (0.80, 1.10), (0.65, 1.6), (0.75, 1.4)),
    "espeak": EngineInfo(
        ("espeakng-loader",),
        "espeak",
        tuple(f"{accent}+{variant}".rstrip("+") for accent in _ESPEAK_ACCENTS for variant in _ESPEAK_VARIANTS),
        (0.86, 1.10),
        (0.7, 1.5),
        (0.55, 1.1),
    ),
    "kokoro": EngineInfo(
        (*kokoro.PARTS, "hibari-tts"), "kokoro", kokoro.ACCENTS, (0.85, 1.15), (0.65, 1.45), (0.7, 1.3), slow=True
    ),
}

# hibari's rules take single words for parts of a sentence ("no." for "number"), so it and Kokoro's American voices are
# handed phonemes, in misaki's alphabet: of the one accent, or of two.
_PHONEMES = {
    "backward": "bˈækwəɹd", "bed": "bˈɛd", "bird": "bˈɜɹd", "cat": "kˈæt", "dog": "dˈɔɡ|dˈɑɡ", "down": "dˈWn",
    "eight": "ˈAt", "five": "fˈIv", "follow": "fˈɑlO", "forward": "fˈɔɹwəɹd", "four": "fˈɔɹ", "go": "ɡˈO",
    "happy": "hˈæpi", "house": "hˈWs", "learn": "lˈɜɹn", "left": "lˈɛft", "marvin": "mˈɑɹvɪn|mˈɑɹvən",
    "nine": "nˈIn", "no": "nˈO", "off": "ˈɑf", "on": "ˈɔn|ˈɑn", "one": "wˈʌn", "right": "ɹˈIt",
    "seven": "sˈɛvən|sˈɛvᵊn", "sheila": "ʃˈilə", "six": "sˈɪks", "stop": "stˈɑp", "three": "θɹˈi", "tree": "tɹˈi",
    "two": "tˈu", "up": "ˈʌp", "visual": "vˈɪʒəwəl|vˈɪʒwəl", "wow": "wˈW", "yes": "jˈɛs", "zero": "zˈɪɹO|zˈiɹO",
}  # fmt: skip


def installed() -> dict[str, str]:
    """Return the version of every engine that is installed."""
    found = {}
    for name, info in ENGINES.items():
        try:
            found[name], *_ = map(version, info.distributions)
        except PackageNotFoundError:
            continue
    return found


def make_ready(name: str, report: Callable[..., None] = lambda done, total, message="": None) -> None:
    """Fetch what an engine that is installed lacks: the voices of Kokoro come with no package."""
    if name == "kokoro":
        kokoro.fetch_voices(report)


class Engine:
    """A synthesiser in a process of its own; a context manager. KwspotError if the process dies."""

    def __init__(self, name: str) -> None:
        if name not in ENGINES:
            raise ConfigError(f"no engine '{name}'; known: {', '.join(ENGINES)}")
        if name not in installed():
            raise MissingPartError(f"the engine '{name}' is not installed", ENGINES[name].extra)
        make_ready(name)
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kwspot.synthesis.engines", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=Path(__file__).parents[2],
            env=os.environ | _FRESH_MEMORY | _ONE_THREAD,
        )

    def speak(self, utterance: Utterance) -> tuple[Waveform, int]:
        """Return the waveform (n_samples,) and its sample rate."""
        asked, answer = self._process.stdin, self._process.stdout
        assert asked is not None and answer is not None
        try:
            asked.write(json.dumps(asdict(utterance)).encode() + b"\n")
            asked.flush()
        except BrokenPipeError:
            raise self._failure(utterance) from None
        header = answer.read(_HEADER.size)
        if len(header) < _HEADER.size:
            raise self._failure(utterance)
        sample_rate, n_samples = _HEADER.unpack(header)
        samples = answer.read(4 * n_samples)
        if len(samples) < 4 * n_samples:
            raise self._failure(utterance)
        return np.frombuffer(samples, np.float32), sample_rate

    def _failure(self, utterance: Utterance) -> KwspotError:
        self.close()
        return KwspotError(f"the engine '{self.name}' stopped at '{utterance.word}': {self._last_error}")

    def close(self) -> None:
        """End the process."""
        if self._errors.closed:
            return
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdout.close()
        with suppress(BrokenPipeError):
            self._process.stdin.close()  # what ends it
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self._last_error = lines[-1] if lines else f"exit status {self._process.returncode}"
        self._errors.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# --- below: inside the process


def _hibari() -> Callable[[Utterance], tuple[Waveform, int]]:
    """hibari-tts: a distilled neural voice; its network gives F0 and spectra, so F0 can be set freely."""
    from hibari import SAMPLE_RATE, Hibari, dsp

    engine = Hibari()

    def phonemes(word: str, accent: str) -> str:
        variants = _PHONEMES[word].split("|") if word in _PHONEMES else ["".join(engine.phonemize(word)).rstrip(".")]
        return variants[-1 if accent == "us2" else 0]

    @lru_cache(maxsize=16)  # a word at a time is asked for, by many speakers
    def spectra(phonemes: str, tempo: float) -> list[Waveform]:
        ids = np.asarray([engine.ids(phonemes)], np.int64)
        return [out[0] for out in engine.sess.run(None, {"ids": ids, "speed": np.asarray([tempo], np.float32)})]

    def speak(u: Utterance) -> tuple[Waveform, int]:
        # The network swallows sounds of a single word when it hurries: let it speak slowly, then thin the frames.
        slow = 0.7 if u.tempo < 0.8 else 0.85
        *parts, f0 = spectra(phonemes(u.word, u.accent) + u.ending, slow)
        kept = np.minimum(np.arange(0, len(f0), u.tempo / slow).round().astype(int), len(f0) - 1)
        parts, f0 = [np.ascontiguousarray(part[:, kept]) for part in parts], f0[kept]
        return dsp.synth(*parts, _bent(f0, u), np.random.default_rng(u.seed)), SAMPLE_RATE

    return speak


def _bent(f0: Waveform, u: Utterance) -> Waveform:
    """Return F0 in Hz at the pitch and the liveliness of an utterance; what is below 40 Hz is unvoiced."""
    voiced = f0 > 40
    if not voiced.any():
        return f0
    middle = np.exp(np.log(f0[voiced]).mean())
    bent = np.where(voiced, u.pitch * middle * (np.maximum(f0, 40) / middle) ** u.liveliness, f0)
    return np.asarray(bent, np.float32)


def _pico() -> Callable[[Utterance], tuple[Waveform, int]]:
    """SVOX Pico: 16 kHz. Volume 0.4 keeps it from clipping; no ending, as it reads "cat." for an abbreviation."""
    from py_nanotts import NanoTTS

    engine = NanoTTS()

    def speak(u: Utterance) -> tuple[Waveform, int]:
        pcm = engine.speak(u.word, voice=u.accent, speed=u.tempo, pitch=u.pitch, volume=0.4)
        return np.frombuffer(pcm, "<i2") / np.float32(32768), 16_000

    return speak


def _espeak() -> Callable[[Utterance], tuple[Waveform, int]]:
    """espeak-ng 1.52 (speak_lib.h): formant synthesis, a file of accents times a file of voice variants."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    synchronous, rate, volume, pitch, pitch_range, utf8 = 2, 1, 2, 3, 4, 1
    sample_rate = library.espeak_Initialize(synchronous, 0, espeakng_loader.get_data_path().encode(), 0)
    if sample_rate <= 0:
        raise RuntimeError("espeak_Initialize failed")
    pieces: list[NDArray[np.int16]] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def collect(samples: Any, n_samples: int, _events: Any) -> int:
        if samples and n_samples > 0:
            pieces.append(np.ctypeslib.as_array(samples, shape=(n_samples,)).copy())
        return 0

    library.espeak_SetSynthCallback(collect)

    def speak(u: Utterance) -> tuple[Waveform, int]:
        if library.espeak_SetVoiceByName(f"gmw/{u.accent}".encode()):
            raise RuntimeError(f"espeak-ng has no voice {u.accent}")
        library.espeak_ng_SetRandSeed(u.seed)
        library.espeak_SetParameter(rate, round(175 * u.tempo), 0)
        library.espeak_SetParameter(volume, 60, 0)
        library.espeak_SetParameter(pitch, int(np.clip(50 + 50 * np.log2(u.pitch), 0, 99)), 0)
        library.espeak_SetParameter(pitch_range, int(np.clip(50 * u.liveliness, 0, 99)), 0)
        text = (u.word + u.ending).encode() + b"\0"
        library.espeak_Synth(text, len(text), 0, 1, 0, utf8, None, None)
        waveform = np.concatenate(pieces or [np.zeros(0, np.int16)]) / np.float32(32768)
        pieces.clear()
        return waveform, sample_rate

    speak.keep = collect  # type: ignore[attr-defined]  # the library holds only a pointer to it
    return _from_the_same_state(speak) if hasattr(os, "fork") else speak


def _from_the_same_state(
    speak: Callable[[Utterance], tuple[Waveform, int]],
) -> Callable[[Utterance], tuple[Waveform, int]]:
    """Let a copy of the process speak each time: espeak-ng's flutter and echo carry over from one word to the next."""

    def speak_in_copy(u: Utterance) -> tuple[Waveform, int]:
        out, into = os.pipe()
        copy = os.fork()
        if copy == 0:
            try:
                with os.fdopen(into, "wb") as pipe:
                    waveform, sample_rate = speak(u)
                    pipe.write(_HEADER.pack(sample_rate, len(waveform)) + waveform.tobytes())
            except BaseException as error:
                sys.stderr.write(f"{error}\n")
                sys.stderr.flush()
            os._exit(0)
        os.close(into)
        with os.fdopen(out, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(copy, 0)
        if not answer:
            sys.exit(1)
        sample_rate, _n_samples = _HEADER.unpack_from(answer)
        return np.frombuffer(answer, np.float32, offset=_HEADER.size), sample_rate

    return speak_in_copy


def _kokoro() -> Callable[[Utterance], tuple[Waveform, int]]:
    """Kokoro-82M: neural voices and voices between them, about as fast as they speak."""
    engine = kokoro.Kokoro()

    def speak(u: Utterance) -> tuple[Waveform, int]:
        known = None if u.accent.startswith("b") else _PHONEMES.get(u.word)
        phonemes = known.split("|")[0] if known else engine.phonemes(u.word, u.accent)
        waveform = engine.speak(phonemes + u.ending, u.accent, u.tempo, lambda f0: _bent(f0, u))
        return waveform, kokoro.SAMPLE_RATE

    return speak


def serve(name: str, asked: BinaryIO, answer: BinaryIO) -> None:
    """Answer every utterance asked for, until there is no more."""
    speak = {"hibari": _hibari, "pico": _pico, "espeak": _espeak, "kokoro": _kokoro}[name]()
    for line in asked:
        waveform, sample_rate = speak(Utterance(**json.loads(line)))
        answer.write(_HEADER.pack(sample_rate, len(waveform)) + np.asarray(waveform, np.float32).tobytes())
        answer.flush()


if __name__ == "__main__":
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    serve(sys.argv[1], sys.stdin.buffer, own)
