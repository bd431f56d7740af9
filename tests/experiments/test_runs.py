"""The records in results/ are what this kwspot would write: settings it knows, names that follow from them."""

from pathlib import Path

import pytest

from kwspot.errors import IntegrityError
from kwspot.experiments.runs import list_runs, load_settings, run_id
from kwspot.experiments.settings import RENAMED
from tests.records import make_run

RESULTS = Path(__file__).parents[2] / "results"
RUNS = [run for folder in sorted(RESULTS.iterdir()) for run in list_runs(folder)]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run.path.parent.name}/{run.id}")
def test_a_record_holds_the_settings_that_name_it(run):
    settings = load_settings(run).deciding()
    assert settings == run.record["settings"]
    deciding = {**settings, "classes": run.record["classes"], "corpus": run.record["corpus"]["digest"]}
    if teachers := run.record.get("teachers"):
        deciding["teachers"] = teachers
    if start := run.record.get("start"):
        deciding["start"] = start
    if background := run.record.get("background"):
        deciding["background"] = background["digest"]
    assert run.id == run.record["run"] == run_id(run.experiment, run.seed, deciding)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_setting_in_a_record_is_named_with_the_new_one(tmp_path, old, new):
    run = make_run(tmp_path, "lstm", 1)
    section, _, key = old.partition(".")
    run.record["settings"].setdefault(section, {})[key] = 1
    with pytest.raises(IntegrityError, match=rf"settings\.{old}: renamed; write '{new}'"):
        load_settings(run)
