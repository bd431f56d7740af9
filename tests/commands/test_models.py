"""`kwspot models`: what cannot be opened is named, and hides no other."""

import pytest
from typer.testing import CliRunner

from kwspot.cli import app
from kwspot.inference.model_zoo import bundled_models
from tests.closed import close_file


def dangling(path):
    path.symlink_to("nowhere")


def folder(path):
    path.mkdir()


def damaged(path):
    path.write_bytes(b"no model")


def closed(path):
    path.write_bytes(bundled_models()[0].path.read_bytes())


@pytest.mark.parametrize("kind", [dangling, folder, damaged, closed])
def test_a_file_that_is_no_model_hides_no_other(tmp_path, monkeypatch, kind):
    enrolled = tmp_path / "enrolled"
    enrolled.mkdir()
    kind(enrolled / "x.onnx")
    (enrolled / "y.onnx").write_bytes(bundled_models()[0].path.read_bytes())
    if kind is closed:
        close_file(monkeypatch, "x.onnx")
    done = CliRunner().invoke(app, ["models", "--runs", str(tmp_path)])
    assert done.exit_code == 4
    assert [line.split()[0] for line in done.stdout.splitlines()][-1] == "y"
    assert done.stderr.startswith(f"error: {enrolled / 'x.onnx'}: ")
    assert len(done.stderr.splitlines()) == 1
