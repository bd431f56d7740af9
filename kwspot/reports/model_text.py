"""What a model file says of itself, for people: what it is for, words, accuracy, size, use; then its card, or the rest.

`known` holds the metadata of the file, and `path` and `size_bytes`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
import shlex
import textwrap
from typing import Any

from kwspot.inference.detector import keywords_of
from kwspot.inference.expectation import estimate, purpose

WIDTH, INDENT = 80, 17  # characters
TOLD = {
    "path", "size_bytes", "weights", "labels", "schema", "accuracy_test", "accuracy_validation", "n_parameters", "macs",
    "spotting", "enrollment", "sample_rate", "clip_length", "win_length", "front_end", "thresholds", "run",
    "experiment", "seed", "corpus", "corpus_digest", "encoder", "encoder_sha256", "kwspot", "kind", "step_length",
    "lead_length",
}  # fmt: skip


def model_text(name: str, known: Mapping[str, Any], card: str | None = None) -> str:
    """Describe a model: a summary, then its card; without one all that the file says, long lists left to --json."""
    what_for = purpose(known)
    command = "predict" if what_for.startswith("for single") else "spot"
    lines = [
        f"{name}: {what_for}",
        *_lines("words", " ".join(keywords_of(known["labels"]))),
        *_lines("accuracy", _accuracy(known)),
        *_lines("size", _size(known)),
        *_lines("file", str(known["path"])),
        *_lines("use", f"kwspot {command} --model {shlex.quote(name)} FILE"),
    ]
    if card:
        return "\n".join([*lines, "", card])
    more = [line for key, value in _more(known) for line in _lines(key, value)]
    return "\n".join([*lines, *more])


def _accuracy(known: Mapping[str, Any]) -> str:
    if enrollment := known.get("enrollment"):
        return estimate(enrollment["expected"])
    splits = {split: known.get(f"accuracy_{split}") for split in ("test", "validation")}
    return ", ".join(f"{value:.1%} of {split} clips" for split, value in splits.items() if value is not None)


def _size(known: Mapping[str, Any]) -> str:
    counts = ((known.get("n_parameters"), "parameters"), (known.get("macs"), "MACs a clip"))
    facts = [f"{n:,} {of_what}" for n, of_what in counts if n is not None]
    weights = " with weights of 8 bits" if known.get("weights") == "int8" else ""
    return ", ".join([*facts, f"{known['size_bytes']:,} bytes{weights}"])


def _more(known: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what else a file says, with names that people read."""
    if enrollment := known.get("enrollment"):
        for key, spoken in (("takes", False), ("synthetic takes", True)):
            takes = Counter(source["word"] for source in enrollment["sources"] if source.get("spoken", False) is spoken)
            yield key, ", ".join(f"{word} {n}" for word, n in takes.items())
        confused = enrollment["expected"]["confused"]
        yield "confused", ", ".join(f"{said} taken for {other} {n}" for said, other, n in confused)
    if spotting := known.get("spotting"):
        forms = {
            "threshold": "threshold {:g}", "smoothing_ms": "smoothed over {:g} ms",
            "refractory_ms": "over after {:g} ms without the word",
        }  # fmt: skip
        yield "in long sound", ", ".join(form.format(spotting[key]) for key, form in forms.items() if key in spotting)
    for precision, threshold in (known.get("thresholds") or {}).items():
        if threshold is not None:
            yield "clip threshold", f"{threshold:g} for a {precision.replace('_', ' of ')}"
    yield "clip", f"{known['clip_length'] / known['sample_rate']:.2f} s at {known['sample_rate']:,} Hz"
    if front := known.get("front_end"):
        bands = f"{front['n_mels']} mel bands, {front['f_min']:g} to {front['f_max']:g} Hz"
        yield "front end", f"{bands}; windows of {front['win_ms']:g} ms, every {front['hop_ms']:g} ms"
    yield "run", str(known.get("run") or "")
    if corpus := known.get("corpus"):
        yield "corpus", f"{corpus}, digest {str(known.get('corpus_digest', ''))[:8]}"
    if encoder := known.get("encoder"):
        yield "encoder", f"{encoder}, sha256 {str(known.get('encoder_sha256', ''))[:8]}"
    yield "made by", f"kwspot {known['kwspot']}" if "kwspot" in known else ""
    for key, value in known.items():
        if key not in TOLD and isinstance(value, str | int | float):
            yield key.replace("_", " "), str(value)


def _lines(key: str, value: str) -> list[str]:
    """Set a fact in lines; none if nothing is known."""
    return textwrap.wrap(
        value, WIDTH, initial_indent=f"{key:{INDENT}}", subsequent_indent=" " * INDENT,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
