"""What is published: the sdist holds what it should, and the wheel in an empty environment predicts without torch."""

from dataclasses import dataclass
import os
from pathlib import Path
import subprocess
import sys
import tarfile
import venv

import numpy as np
import pytest
from typer.testing import CliRunner

from kwspot import __version__
from kwspot.cli import app
from tests.sounds import tone, write_sound

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
MOST_MB = 500
slow = pytest.mark.slow  # an installation from the registry


def build(target, folder):
    """Build with the backend of pyproject.toml; return the file."""
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


def test_sdist_holds_the_package_its_tests_and_its_documents(tmp_path):
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = [Path(name).relative_to(f"kwspot-{__version__}") for name in archive.getnames()]
    assert {name.parts[0] for name in names} == {
        "kwspot", "tests", "experiments.yaml", "README.md", "data_processing.md", "CHANGELOG.md", "LICENSE",
        "pyproject.toml", ".gitignore", "PKG-INFO",
    }  # fmt: skip
    assert Path("kwspot/inference/bundled/keywords10.onnx") in names


@dataclass
class Light:
    """An environment in which only the wheel was installed, and an empty folder to run its programs in."""

    folder: Path
    place: Path

    @property
    def programs(self):
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    def run(self, *command):
        """Run a program of the environment, which knows nothing of this one."""
        return start([str(self.programs / command[0]), *map(str, command[1:])], cwd=self.place)


def start(command, **options):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("KWSPOT_", "PYTHON"))}
    environment |= {"PYTHONNOUSERSITE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    light = Light(tmp_path_factory.mktemp("light"), tmp_path_factory.mktemp("place"))
    venv.create(light.folder, with_pip=False)
    wheel = build("wheel", tmp_path_factory.mktemp("dist"))
    pip = [sys.executable, "-m", "pip", "--python", str(light.programs / "python"), "install", "--quiet"]
    done = start([*pip, "--retries", "1", str(wheel)])
    if "connection broken by" in done.stderr:
        pytest.skip("pip reaches no registry")
    assert done.returncode == 0, done.stderr
    return light


@slow
def test_it_is_small_and_without_torch(light):
    files = [file for file in light.folder.rglob("*") if file.is_file() and not file.is_symlink()]
    assert sum(file.stat().st_size for file in files) / 2**20 <= MOST_MB
    assert "No module named 'torch'" in light.run("python", "-c", "import torch").stderr


def here(*arguments):
    """Return what a command prints in the environment of the tests."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments]).stdout


@slow
def test_it_predicts_and_spots_as_here(light):
    sound = write_sound(light.place / "x.wav", np.concatenate([tone(hz) for hz in (300, 1200, 700)]))
    for program in (["kwspot"], ["python", "-m", "kwspot"]):
        done = light.run(*program, "predict", "--top", 3, sound)
        assert done.stdout == here("predict", "--top", 3, sound) != "", done.stderr
    done = light.run("kwspot", "spot", "--threshold", 0.01, sound)
    assert done.stdout == here("spot", "--threshold", 0.01, sound) != "", done.stderr


@slow
def test_it_compares_records_as_here_and_draws_them(light):
    study = ["compare", "--runs", ROOT / "results" / "study"]
    done = light.run("kwspot", *study)
    assert done.stdout == here(*study) != "", done.stderr
    done = light.run("kwspot", "compare", "--runs", ROOT / "results" / "sound", "--plots", "plots")
    assert len(list((light.place / "plots").glob("*.svg"))) >= 4, done.stderr


@slow
def test_it_lists_models_and_experiments_and_the_doctor_finds_no_fault(light):
    assert [line.split()[0] for line in light.run("kwspot", "models").stdout.splitlines()][1:4] == [
        "keywords10", "keywords10_long", "keywords10_nano",
    ]  # fmt: skip
    assert "lstm" in light.run("kwspot", "experiments").stdout
    done = light.run("kwspot", "doctor")
    assert done.returncode == 0, done.stdout
    assert "ok   train     not installed" in done.stdout


@slow
@pytest.mark.parametrize(
    ("arguments", "library", "extra"),
    [
        (["train", "lstm"], "torch", "train"),
        (["featurize"], "torch", "train"),
        (["sweep", "lstm", "--over", "train.epochs=1,2"], "optuna", "sweep"),
        (["ui"], "starlette", "ui"),
    ],
)
def test_what_it_lacks_is_one_line(light, arguments, library, extra):
    done = light.run("kwspot", *arguments)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"error: kwspot {arguments[0]} needs {library}; run: pip install 'kwspot[{extra}]'\n"
