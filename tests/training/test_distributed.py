"""Two processes of torchrun train what one trains."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

from kwspot.experiments.runs import list_runs
from tests.browsers import free_port
from tests.toy import SETTINGS, make_cache

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_cache(folder)
    return folder


def train(data, runs_dir, *overrides, processes=None, more=(), code=0):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] if processes else []
    given = [part for override in [*SETTINGS, "model.dropout=0", *overrides] for part in ("-o", override)]
    command = [sys.executable, *torchrun, "-m", "kwspot", "train", "lstm", *given, *more]
    places = ["--data", str(data), "--runs", str(runs_dir), "--threads", "1", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *places], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done


# 48 clips: batches of 7 are shared 4 and 3 and end with 6; batches of 47 end with one clip, for one process.
@pytest.mark.parametrize("batch_size", [7, 47])
def test_two_processes_have_the_loss_curve_of_one(data, tmp_path, batch_size):
    recipe = [f"train.batch_size={batch_size}", "train.epochs=3", "augment.shift_ms=20", "augment.time_masks=1"]
    train(data, tmp_path / "one", *recipe)
    done = train(data, tmp_path / "two", *recipe, processes=2)
    (one,), (two,) = list_runs(tmp_path / "one"), list_runs(tmp_path / "two")
    assert one.id == two.id
    assert len(one.history) == len(two.history) == 3
    for ours, theirs in zip(one.history, two.history, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4)
    assert done.stdout.count("validation accuracy") == 1
    assert {path.name for path in (tmp_path / "two").iterdir()} == {two.id}


def test_two_machines_have_the_loss_curve_of_one(data, tmp_path):
    """Two of torchrun, as on two machines that share their folders: here, both on this one."""
    recipe = ["train.epochs=2", "train.batch_size=8"]
    train(data, tmp_path / "one", *recipe)
    meeting = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1", "--rdzv_backend", "c10d"]
    meeting += ["--rdzv_id", "kwspot", "--rdzv_endpoint", f"127.0.0.1:{free_port()}"]
    given = [part for override in [*SETTINGS, "model.dropout=0", *recipe] for part in ("-o", override)]
    places = ["--data", str(data), "--runs", str(tmp_path / "two"), "--threads", "1", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    machines = [
        subprocess.Popen(
            [sys.executable, *meeting, "-m", "kwspot", "train", "lstm", *given, *places],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    printed = [machine.communicate() for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], printed
    assert sum(out.count("validation accuracy") for out, _ in printed) == 1
    (one,), (two,) = list_runs(tmp_path / "one"), list_runs(tmp_path / "two")
    for ours, theirs in zip(one.history, two.history, strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4)


def test_two_processes_go_on_with_a_run_and_start_it_anew(data, tmp_path):
    recipe = ["train.epochs=2", "train.patience=null"]
    train(data, tmp_path, *recipe, processes=2)
    (run,) = list_runs(tmp_path)
    before = (run.path / "metrics.json").stat().st_mtime_ns
    train(data, tmp_path, *recipe, processes=2)
    assert (run.path / "metrics.json").stat().st_mtime_ns == before
    (run.path / "metrics.json").unlink()
    train(data, tmp_path, *recipe, processes=2, more=["--resume"])
    train(data, tmp_path, *recipe, processes=2, more=["--again"])
    (again,) = list_runs(tmp_path)
    assert again.history == run.history
