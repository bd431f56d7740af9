"""Does a run decide alike on a clip that arrives piece by piece and on the whole clip? Its two model files compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kwspot.audio.reading import read_clip
from kwspot.errors import MissingError
from kwspot.experiments.runs import MODEL, STREAM, Run, load_settings
from kwspot.features.cache import open_cache
from kwspot.features.dataset import recorded_clips, resolve_task, select_measured
from kwspot.inference.spotter import Spotter
from kwspot.inference.streaming import Stream

PIECE_MS = 100  # of sound at a time


def compare_streaming(
    run: Run,
    *,
    split: str,
    data: Path,
    report: Callable[..., None] = lambda done, total, message="": None,
) -> dict[str, Any]:
    """Measure both files on the recordings of a split: n, accuracy_clip, accuracy_stream, n_same decisions.

    The stream's decision is the one after the last whole step of the clip. MissingError where the files are
    missing, or the corpus holds no recordings of the split.
    """
    experiment = load_settings(run)
    cache = open_cache(data, experiment.front_end)
    task = resolve_task(experiment.task, cache, classes=run.record["classes"])
    clips = select_measured(cache, task, split, experiment.train.held_out)
    recorded = [(clip.name, label) for clip, label in recorded_clips(clips, data, "streaming")]
    for path in (run.path / MODEL, run.path / STREAM):
        if not path.is_file():
            raise MissingError(f"{path}: not there; 'kwspot export {run.id}' writes it if the model can stream")
    whole, stream = Spotter(run.path / MODEL), Stream(run.path / STREAM)
    piece = stream.sample_rate * PIECE_MS // 1000
    n_right_clip = n_right_stream = n_same = 0
    for n_done, (name, label) in enumerate(recorded):
        report(n_done, len(recorded))
        waveform = read_clip(data / name, whole).waveform
        of_clip = int(whole.posteriors(waveform[None])[0].argmax())
        stream.reset()
        after_steps = [stream.feed(waveform[i : i + piece]) for i in range(0, len(waveform), piece)]
        last = [posteriors[-1] for posteriors in after_steps if len(posteriors)]
        of_stream = int(last[-1].argmax()) if last else None  # a clip shorter than a step
        n_right_clip += of_clip == label
        n_right_stream += of_stream == label
        n_same += of_clip == of_stream
    n = len(recorded)
    return {"n": n, "accuracy_clip": n_right_clip / n, "accuracy_stream": n_right_stream / n, "n_same": n_same}
