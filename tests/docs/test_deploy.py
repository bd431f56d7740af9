"""The examples of docs/deploy.md run as written, and say what kwspot says."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from kwspot import Spotter
from kwspot.errors import MissingError
from kwspot.export.c_check import compiler
from kwspot.export.c_source import CODE, MODEL, WEIGHTS
from tests.browsers import NODE_MODULES
from tests.documents import DOCUMENTS, fenced
from tests.sounds import tone

PAGE = DOCUMENTS["docs/deploy.md"]


@pytest.mark.skipif(not (shutil.which("node") and NODE_MODULES.is_dir()), reason="no node, or npm has fetched nothing")
def test_javascript_says_what_kwspot_says(tmp_path):
    (program,) = fenced(PAGE, "js")
    (tmp_path / "predict.mjs").write_text(program)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    samples = (tone(440)[:16_000] * 2**15).astype(np.int16)
    samples.tofile(tmp_path / "tone.raw")
    spotter = Spotter.load("keywords10")
    command = ["node", "predict.mjs", str(spotter.path), "tone.raw", ",".join(spotter.labels)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = spotter.predict(samples)
    word, posterior = done.stdout.split()
    assert word == expected.word
    assert float(posterior) == pytest.approx(expected.posterior, abs=0.006)


def test_the_example_in_c_compiles_and_runs(tmp_path):
    try:
        compiler()
    except MissingError as absent:
        pytest.skip(str(absent))
    recorder = tmp_path / "bin" / "arecord"  # that records five seconds of silence
    recorder.parent.mkdir()
    recorder.write_text("#!/bin/sh\nhead -c 160000 /dev/zero\n")
    recorder.chmod(0o755)
    path = os.pathsep.join([str(recorder.parent), os.path.dirname(sys.executable), os.environ["PATH"]])  # noqa: PTH120
    (script,) = fenced(PAGE, "sh")
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    written = [line.split("\t")[0] for line in done.stdout.splitlines()]  # and no word
    assert written == [f"keywords10_nano-c/{name}" for name in (*CODE, MODEL, WEIGHTS)]
