"""Put the demo that needs no server together: `python -m space.build NODE_MODULES OUT`, which `make space` does.

OUT holds the page, the bundled model for long sound with its metadata as JSON (onnxruntime-web does not show those of
the file) and what each threshold of its curve costs, in words, and onnxruntime-web as npm brought it.
"""

import json
from pathlib import Path
import shutil
import sys

from kwspot.inference.expectation import expectation
from kwspot.inference.model_zoo import DEFAULT_LONG, find_model
from kwspot.inference.pipeline import detection_settings
from kwspot.inference.spotter import Spotter

HERE = Path(__file__).parent
SHARED = ("scope.js", "mel.js", "microphone.js", "theme.css")  # with `kwspot ui`
RUNTIME = {"ort.js": "dist/ort.wasm.bundle.min.mjs", "ort.wasm": "dist/ort-wasm-simd-threaded.wasm"}
KEYS = ("labels", "sample_rate", "clip_length", "n_parameters")


def build(node_modules: Path, out: Path) -> None:
    """Write the folder anew."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(HERE / "static", out)
    web = HERE.parent / "kwspot" / "web" / "static"
    for name in SHARED:
        shutil.copy(web / name, out / name)
    (out / "ort").mkdir()
    for name, source in RUNTIME.items():
        shutil.copy(node_modules / "onnxruntime-web" / source, out / "ort" / name)
    found = find_model(default=DEFAULT_LONG)
    shutil.copy(found.path, out / "model.onnx")
    metadata = Spotter(found.path).metadata
    settings = detection_settings(metadata)
    curve = (metadata.get("spotting") or {}).get("curve", [])
    known = {key: metadata[key] for key in KEYS} | {
        "name": found.name,
        "size_bytes": found.path.stat().st_size,
        "spotting": vars(settings),
        "expected": [[threshold, expectation(metadata, threshold)] for threshold, *_ in curve],
    }
    (out / "model.json").write_text(json.dumps(known), encoding="utf-8")


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
