"""Training: it learns, chooses by validation alone, and survives any death without a changed bit."""

from dataclasses import replace
import json
from pathlib import Path
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

from kwspot.errors import ConfigError, IntegrityError, KwspotError, MissingError
from kwspot.evaluation.evaluate import evaluate_run
from kwspot.experiments import runs
from kwspot.experiments.settings import TrainSettings
from kwspot.export.export import prepare
from kwspot.features.dataset import band_statistics, resolve_task, select
from kwspot.files import PARTIAL
from kwspot.models.device import has_bfloat16
from kwspot.models.loading import load_model, read_weights
from kwspot.tasks import KEYWORDS_10
from kwspot.training.plan import plan_run
from kwspot.training.run import Callbacks, make_trainer, run_experiment
from kwspot.training.trainer import ALONE, DivergedError, Trainer
from tests.closed import close_file
from tests.records import make_run
from tests.toy import make_cache, toy_experiment

FILES = (runs.RUN, runs.HISTORY, runs.METRICS, runs.BEST)


def train(data, runs_dir, *overrides, name="rnn", **options):
    experiment = toy_experiment(name, *overrides)
    return run_experiment(experiment, seed=1, data=data, runs_dir=runs_dir, device="cpu", **options)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_cache(folder)
    return folder


def weights(run, name=runs.BEST):
    return torch.load(run.path / name, weights_only=True)


def same_weights(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["rnn", "rnn_ln", "fastrnn", "mingru", "lstm", "gru"])
def test_overfits_one_batch(data, tmp_path, cell):
    settings = f"""
        model.cell={cell} model.dropout=0 model.feature_norm=standard
        train.epochs=60 train.patience=60 train.learning_rate=1e-2 train.batch_size=64
    """.split()
    run = train(data, tmp_path, *settings)
    assert len(run.history) == 60
    assert run.history[-1]["loss_train"] < 0.05


def test_vanished_gradients_are_flushed_to_zero(data, tmp_path):
    """Numbers below 1e-38 slow the CPU tenfold, and an unscaled RNN makes them in every step."""
    smallest = []
    callbacks = Callbacks(step=lambda *_: smallest.append((torch.tensor(1e-30) * 1e-10).item()))
    train(data, tmp_path, "train.epochs=1", callbacks=callbacks)
    assert set(smallest) == {0.0}


def test_same_seed_same_bits_other_seed_other_bits(data, tmp_path):
    one, two = (train(data, tmp_path / place, "train.epochs=2") for place in "ab")
    assert same_weights(weights(one), weights(two))
    assert one.history == two.history
    other = run_experiment(toy_experiment("rnn", "train.epochs=2"), seed=2, data=data, runs_dir=tmp_path, device="cpu")
    assert not same_weights(weights(one), weights(other))


def test_run_is_named_by_what_decides_it(data, tmp_path):
    ids = [
        train(data, tmp_path, "train.epochs=1", *more).id
        for more in ([], ["train.batch_size=16"], ["model.dropout=0.1"])
    ]
    assert len(set(ids)) == 3
    assert all(i.startswith("rnn-s1-") for i in ids)


def test_record_is_complete(data, tmp_path):
    run = train(data, tmp_path, "train.epochs=3", "train.patience=9", name="lstm")
    assert [line["epoch"] for line in run.history] == [1, 2, 3]
    n_clips = {"test": 18, "train": 48, "validation": 18}
    assert run.record["corpus"] == {"name": "toy", "digest": "toy-0", "source": "frames", "n_clips": n_clips}
    assert run.record["classes"] == ["left", "right", "up"]
    assert run.record["environment"]["torch"] == torch.__version__
    assert run.record["settings"]["model"]["cell"] == "lstm"
    assert run.metrics["epochs"] == 3
    assert run.metrics["stopped"] == "epochs"
    assert not list(run.path.glob("*.partial"))


def test_tensorboard_reads_the_named_scalars(data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train(data, tmp_path, "train.epochs=2")
    events = EventAccumulator(str(run.path)).Reload()
    names = ["accuracy/train", "accuracy/validation", "grad_norm", "loss/train", "loss/validation", "lr"]
    assert sorted(events.Tags()["scalars"]) == names
    written = [(e.step, e.value) for e in events.Scalars("accuracy/validation")]
    assert written == [(line["epoch"], np.float32(line["accuracy_validation"])) for line in run.history]


def test_best_epoch_is_by_validation_only(data, tmp_path):
    """Training figures get better to the end; validation of shuffled labels does not, and it alone decides."""
    run = train(data, tmp_path, "train.epochs=12", "train.patience=12", "train.learning_rate=3e-3", name="lstm")
    best = max(run.history, key=lambda record: record["accuracy_validation"])
    assert run.metrics["best_epoch"] == best["epoch"]
    assert run.metrics["loss_validation"] == best["loss_validation"]
    model, _ = load_model(run, torch.device("cpu"))
    evaluation = evaluate_run(run, split="validation", data=data, device="cpu")
    assert evaluation["accuracy"] == pytest.approx(best["accuracy_validation"])
    assert evaluation["loss"] == pytest.approx(best["loss_validation"], rel=1e-5)
    assert not same_weights(model.state_dict(), weights(run, runs.CHECKPOINT)["model"]) or best["epoch"] == 12


class Memorised(nn.Module):
    """Says class 0 in the epochs it is told to: on clips of class 0, that writes the validation curve."""

    def __init__(self, correct_by_epoch):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(3))
        self.correct_by_epoch, self.epoch = correct_by_epoch, 0

    def train(self, mode=True):
        self.epoch += mode
        return super().train(mode)

    def forward(self, features, lengths):
        right = 1.0 if self.correct_by_epoch[self.epoch - 1] else -1.0
        return torch.tensor([[right, 0.0, 0.0]]).expand(len(features), 3) + 0 * self.bias


def right_in(curve, settings, data):
    """Train on clips of one word that are right in the epochs of a curve; return the trainer and its records."""
    cache = make_cache(data)
    split = select(cache, resolve_task("folder", cache), "train")
    first = np.flatnonzero(split.labels == 0)
    split = type(split)(split.frames, split.rows[first], split.lengths[first], split.labels[first], split.clips)
    trainer = Trainer(Memorised(curve), settings, split, split, seed=1, device=torch.device("cpu"))
    return trainer, list(trainer.run(lambda: False, lambda _progress, _n: None))


def test_early_stopping_waits_for_patience(data):
    curve = [False, True, False, False, False, True, True]
    trainer, records = right_in(curve, TrainSettings(epochs=7, patience=3), data)
    assert len(records) == 5
    assert trainer.best.epoch == 2
    assert trainer.finished == "patience"


@pytest.mark.parametrize(("keep_last", "kept"), [(None, 2), (True, 4)])
def test_the_last_epoch_is_kept_where_the_best_on_clips_is_not_wanted(data, keep_last, kept):
    settings = TrainSettings(epochs=4, patience=None, keep_last=keep_last)
    trainer, _ = right_in([False, True, False, False], settings, data)
    assert trainer.best.epoch == kept


def test_a_run_that_keeps_its_last_epoch_has_its_weights(data, tmp_path):
    recipe = ("train.epochs=4", "train.patience=null", "train.learning_rate=0.3")
    run = train(data, tmp_path, *recipe, "train.keep_last=true")
    assert run.metrics["best_epoch"] == 4
    assert run.metrics["accuracy_validation"] == run.history[-1]["accuracy_validation"]
    assert same_weights(weights(run), weights(run, runs.CHECKPOINT)["model"])


def test_gradient_is_clipped_and_its_norm_recorded(data, tmp_path):
    free = train(data, tmp_path, "train.epochs=1", "train.clip_norm=null")
    held = train(data, tmp_path, "train.epochs=1", "train.clip_norm=1e-4")
    assert free.history[0]["grad_norm"] > 0.1
    assert held.history[0]["grad_norm"] > 1e-3  # recorded before clipping
    assert not same_weights(weights(free), weights(held))


def test_class_weights_lift_the_rare_class(tmp_path):
    cache = make_cache(tmp_path)
    task = resolve_task("folder", cache)
    split = select(cache, task, "train")
    rare = np.concatenate([np.flatnonzero(split.labels != 0), np.flatnonzero(split.labels == 0)[:2]])
    subset = type(split)(split.frames, split.rows[rare], split.lengths[rare], split.labels[rare], split.clips)
    trainer = Trainer(
        nn.Linear(1, 3), TrainSettings(class_weights=True), subset, split, seed=1, device=torch.device("cpu")
    )
    assert trainer.class_weights.tolist() == pytest.approx([34 / (3 * 2), 34 / (3 * 16), 34 / (3 * 16)])


@pytest.mark.parametrize("setting", ["class_weights=true", "objective={prototypical: 0.5, clips_per_word: 2}"])
def test_what_looks_at_a_whole_batch_is_refused_in_several_processes(data, tmp_path, setting):
    experiment = toy_experiment("lstm", f"train.{setting}", "model.embedding_size=4", "model.pooling=mean")
    plan = plan_run(experiment, 1, data, tmp_path, lambda _: None)
    assert make_trainer(plan, data, torch.device("cpu"), ALONE).settings == experiment.train
    with pytest.raises(ConfigError, match="look at a whole batch: train it in one process"):
        make_trainer(plan, data, torch.device("cpu"), replace(ALONE, size=2))


def test_band_statistics_leave_padding_out(tmp_path):
    cache = make_cache(tmp_path)
    split = select(cache, resolve_task("folder", cache), "train")
    mean, std = band_statistics(split, piece=7)
    real = np.concatenate([cache.frames[c.row, : c.n_frames].astype(np.float64) for c in split.clips])
    np.testing.assert_allclose(mean, real.mean(0), rtol=1e-5)
    np.testing.assert_allclose(std, real.std(0), rtol=1e-5)


def test_finished_run_is_not_trained_again_without_again(data, tmp_path):
    run = train(data, tmp_path, "train.epochs=1")
    before = (run.path / runs.METRICS).stat().st_mtime_ns
    assert (train(data, tmp_path, "train.epochs=1").path / runs.METRICS).stat().st_mtime_ns == before
    again = train(data, tmp_path, "train.epochs=1", again=True)
    assert again.path == run.path
    assert (again.path / runs.METRICS).stat().st_mtime_ns > before


def test_two_processes_do_not_train_one_run(data, tmp_path):
    run = train(data, tmp_path, "train.epochs=1")
    with runs.held(run.path), pytest.raises(KwspotError, match="another process is training"):
        train(data, tmp_path, "train.epochs=1", again=True)
    assert runs.read_run(run.path) == run


def test_what_is_left_of_a_run_is_trained_anew_with_again(data, tmp_path):
    run = train(data, tmp_path, "train.epochs=1")
    (run.path / runs.RUN).unlink()
    for options in ({}, {"resume": True}):
        with pytest.raises(ConfigError, match="start over with --again"):
            train(data, tmp_path, "train.epochs=1", **options)
    assert train(data, tmp_path, "train.epochs=1", again=True).history == run.history


def test_partial_files_of_killed_writers_are_swept_away(data, tmp_path):
    stopped = train(data, tmp_path, "train.epochs=2", callbacks=Callbacks(should_stop=lambda: True))
    (stopped.path / f"best.pt.0123abcd{PARTIAL}").write_bytes(b"half")
    assert not list(train(data, tmp_path, "train.epochs=2", resume=True).path.glob("*.partial"))


RECIPE = """
    augment.shift_ms=20 augment.speed=0.1 augment.noise_share=0.5 augment.time_masks=1 augment.freq_masks=1
    augment.mixup=0.4 train.optimizer=adamw train.schedule=one_cycle train.ema_decay=0.9 train.label_smoothing=0.1
    train.weight_decay=0.01 train.patience=null model.pooling=attention train.epochs=3
""".split()  # noqa: SIM905


@pytest.mark.parametrize("n_steps", [1, 6, 8])
def test_a_recipe_stopped_and_resumed_is_bit_identical(data, tmp_path, n_steps):
    """Augmentation, schedule and the average of the weights resume where they were."""
    whole = train(data, tmp_path / "whole", *RECIPE)
    taken = []
    callbacks = Callbacks(step=lambda *_: taken.append(1), should_stop=lambda: len(taken) == n_steps)
    train(data, tmp_path / "parts", *RECIPE, callbacks=callbacks)
    parts = train(data, tmp_path / "parts", *RECIPE, resume=True)
    assert parts.history == whole.history
    assert same_weights(weights(parts), weights(whole))
    assert len({line["lr"] for line in whole.history}) == 3


def test_average_of_the_weights_is_what_is_evaluated_and_kept(data, tmp_path):
    run = train(data, tmp_path, *RECIPE)
    kept, last = weights(run), weights(run, runs.CHECKPOINT)
    assert run.metrics["epochs"] == 3
    assert not same_weights(kept, last["model"])
    evaluation = evaluate_run(run, split="validation", data=data, device="cpu")
    assert evaluation["accuracy"] == run.metrics["accuracy_validation"]


def test_mean_of_the_last_epochs_is_what_is_evaluated_from_then_on(data, tmp_path):
    settings = ["train.epochs=4", "train.swa_epochs=2", "train.patience=null"]
    plain = [train(data, tmp_path / "plain", f"train.epochs={n}", "train.patience=null", name="lstm") for n in (3, 4)]
    ends = [weights(run, runs.CHECKPOINT)["model"] for run in plain]
    run = train(data, tmp_path, *settings, name="lstm")
    average = weights(run, runs.CHECKPOINT)["average"]
    for key, value in ends[0].items():
        torch.testing.assert_close(average[f"module.{key}"], (value + ends[1][key]) / 2)
    assert [line["accuracy_validation"] for line in run.history[:2]] == [
        line["accuracy_validation"] for line in plain[1].history[:2]
    ]
    evaluation = evaluate_run(run, split="validation", data=data, device="cpu")
    assert evaluation["accuracy"] == run.metrics["accuracy_validation"]


@pytest.mark.parametrize("cell", ["rnn", "rnn_ln", "fastrnn", "mingru", "lstm", "gru"])
def test_mixed_precision_rounds_products_and_keeps_weights_whole(data, tmp_path, monkeypatch, cell):
    if cell == "lstm" and not has_bfloat16(torch.device("cpu")):
        pytest.skip("torch imitates bfloat16 on this CPU for every cell but the LSTM")
    monkeypatch.setattr("kwspot.training.trainer.has_bfloat16", lambda _: True)
    settings = [f"model.cell={cell}", "train.epochs=1", "model.dropout=0", "model.feature_norm=standard"]
    exact = train(data, tmp_path, *settings)
    mixed = train(data, tmp_path, *settings, "train.mixed_precision=true")
    assert {value.dtype for value in weights(mixed).values() if value.is_floating_point()} == {torch.float32}
    assert not same_weights(weights(mixed), weights(exact))
    assert mixed.history[0]["loss_train"] == pytest.approx(exact.history[0]["loss_train"], rel=0.02)


def test_mixed_precision_is_left_alone_where_the_device_has_none(data, tmp_path, monkeypatch):
    monkeypatch.setattr("kwspot.training.trainer.has_bfloat16", lambda _: False)
    exact = train(data, tmp_path, "train.epochs=1")
    mixed = train(data, tmp_path, "train.epochs=1", "train.mixed_precision=true")
    assert same_weights(weights(mixed), weights(exact))


@pytest.mark.slow
def test_a_student_learns_from_its_teachers_alone(data, tmp_path):
    """All the weight is on the teachers, none on the labels."""
    longer = ["train.epochs=30", "train.patience=null", "train.learning_rate=1e-2", "model.feature_norm=standard"]
    teacher = train(data, tmp_path, *longer, name="lstm")
    taught = ["train.distill.teachers=[lstm]", "train.distill.weight=1"]
    student = train(data, tmp_path, *longer, *taught, "model.cell=gru", name="rnn")
    assert student.record["teachers"] == [teacher.id]
    assert student.metrics["accuracy_validation"] > 0.9


def test_a_student_of_two_is_not_the_student_of_one(data, tmp_path):
    taught = ["train.epochs=1", "train.distill.teachers=[lstm]"]
    train(data, tmp_path, "train.epochs=1", name="lstm")
    one = train(data, tmp_path, *taught)
    train(data, tmp_path, "train.epochs=2", name="lstm")
    two = train(data, tmp_path, *taught)
    assert (len(one.record["teachers"]), len(two.record["teachers"])) == (1, 2)
    assert one.id != two.id


def test_a_teacher_of_another_task_is_refused(data, tmp_path):
    train(data, tmp_path, "train.epochs=1", "task=[left, right]")
    with pytest.raises(IntegrityError, match="cannot teach lstm: it has other classes"):
        train(data, tmp_path, "train.distill.teachers=[rnn]", name="lstm")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_run_that_starts_from_another_goes_on_with_its_weights(data, tmp_path):
    first = train(data, tmp_path, "train.epochs=3", "train.learning_rate=1e-2")
    again = train(data, tmp_path, "train.epochs=1", "train.learning_rate=1e-9", f"train.start_from={first.id}")
    assert again.record["start"] == first.id
    for name, before in weights(first).items():
        torch.testing.assert_close(weights(again)[name], before, atol=1e-6, rtol=0)
    with pytest.raises(IntegrityError, match="cannot start from it"):
        train(data, tmp_path, "train.epochs=1", f"train.start_from={first.id}", name="lstm")


def test_a_run_of_other_words_gives_all_but_the_head(data, tmp_path):
    first = train(data, tmp_path, "train.epochs=3", "train.learning_rate=1e-2", "task=[left, right]")
    said: list[str] = []
    more = ["train.epochs=1", "train.learning_rate=1e-9", f"train.start_from={first.id}"]
    second = train(data, tmp_path, *more, callbacks=Callbacks(note=said.append))
    assert f"starts from {first.id}, all but its head, which told apart other classes, or in another order" in said
    before, after = weights(first), weights(second)
    drawn = weights(train(data, tmp_path / "drawn", "train.epochs=1", "train.learning_rate=1e-9"))
    for name, weight in after.items():
        expected = drawn if name.startswith("head.") else before
        torch.testing.assert_close(weight, expected[name], atol=1e-6, rtol=0)
    assert after["head.weight"].shape != before["head.weight"].shape


def test_distillation_stopped_and_resumed_is_bit_identical(data, tmp_path):
    teach = ["train.distill.teachers=[lstm]", "train.epochs=3", "train.patience=null", "augment.shift_ms=20"]
    for place in ("whole", "parts"):
        train(data, tmp_path / place, "train.epochs=2", name="lstm")
    whole = train(data, tmp_path / "whole", *teach)
    taken = []
    callbacks = Callbacks(step=lambda *_: taken.append(1), should_stop=lambda: len(taken) == 8)
    train(data, tmp_path / "parts", *teach, callbacks=callbacks)
    parts = train(data, tmp_path / "parts", *teach, resume=True)
    assert parts.history == whole.history
    assert same_weights(weights(parts), weights(whole))


@pytest.fixture(scope="module")
def twelve(tmp_path_factory):
    """Ten keywords, silence, and two words that are none of them."""
    folder = tmp_path_factory.mktemp("twelve")
    make_cache(folder, words=(*KEYWORDS_10, "silence", "bed", "cat"))
    return folder


APART = ["task=kws12", "train.merge_unknown=true", "train.unknown_share=0.2", "model.feature_norm=standard"]


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["augment.mixup=0.2"], ["model.published=bc_resnet_1"]])
def test_words_of_unknown_are_apart_in_training_and_one_class_after_it(twelve, tmp_path, more):
    run = train(twelve, tmp_path, *APART, *more, "train.epochs=2")
    assert run.record["merged_words"] == ["bed", "cat"]
    assert len(run.record["classes"]) == 12
    model, _ = load_model(run, torch.device("cpu"))
    features, lengths = torch.randn(5, 21, 40), torch.full((5,), 21)
    with torch.no_grad():
        one = model(features, lengths)
        merge, model.merge = model.merge, None
        apart = model(features, lengths)
    assert (merge.at, apart.shape[1], one.shape[1]) == (10, 13, 12)
    torch.testing.assert_close(one[:, :10], apart[:, :10])
    torch.testing.assert_close(one[:, 10], apart[:, 10:12].max(1).values)
    torch.testing.assert_close(one[:, 11], apart[:, 12])


@pytest.mark.slow
def test_a_keyword_that_was_cut_is_right_as_unknown(twelve, tmp_path):
    cut = [f"augment.neighbours.{one}" for one in ("share=1.0", "cut_share=1.0", "cut_shift_ms=[200,220]")]
    how = (
        "task=kws12",
        "train.unknown_share=0.2",
        "model.feature_norm=standard",
        "train.epochs=30",
        "train.patience=null",
    )
    run = train(twelve, tmp_path, *how, *cut, "train.learning_rate=1e-2")
    assert run.metrics["accuracy_train"] > 0.9


@pytest.mark.slow
def test_told_apart_they_are_learned_and_measured_as_unknown(twelve, tmp_path):
    run = train(twelve, tmp_path, *APART, "train.epochs=30", "train.patience=null", "train.learning_rate=1e-2")
    assert run.metrics["accuracy_train"] > 0.9
    result = evaluate_run(run, split="test", data=twelve, device="cpu")
    assert all(word["recall"] > 0.9 for word in result["per_class"][-2:])  # `unknown` and `silence`


def test_words_held_out_are_none_that_the_start_was_trained_on(twelve, tmp_path):
    recipe = ["task=kws12", "train.epochs=1"]
    first = train(twelve, tmp_path, *recipe, "train.held_out=[cat]")
    onward = [*recipe, f"train.start_from={first.id}"]
    with pytest.raises(ConfigError, match=rf"train\.held_out: {first.id}, where it starts, was trained on bed;"):
        train(twelve, tmp_path, *onward, "train.held_out=[bed, cat]")
    assert train(twelve, tmp_path, *onward, "train.held_out=[cat]", "train.batch_size=16").record["start"] == first.id
    words = train(twelve, tmp_path, "task=[yes, no]", "train.epochs=1")  # `bed` and `cat` are no class of it
    start = f"train.start_from={words.id}"
    assert train(twelve, tmp_path, *recipe, start, "train.held_out=[bed]").record["start"] == words.id


def test_words_held_out_that_the_corpus_lacks_are_refused(twelve, tmp_path):
    with pytest.raises(ConfigError, match=r"train\.held_out: .* has no clips of cta, dog$"):
        train(twelve, tmp_path, "task=kws12", "train.held_out=[dog, cat, cta]")


def test_words_held_out_are_missing_from_validation_wherever_it_is_measured_and_in_test(twelve, tmp_path):
    run = train(twelve, tmp_path, "task=kws12", "train.held_out=[cat]", "train.epochs=1")
    measured = evaluate_run(run, split="validation", data=twelve, device="cpu")
    assert measured["loss"] == pytest.approx(run.metrics["loss_validation"], rel=1e-5)
    assert measured["n"] == run.record["corpus"]["n_clips"]["validation"]
    evaluate_run(run, split="test", data=twelve, device="cpu")
    prepared = prepare(runs.read_run(run.path), twelve)
    words = [{clip.word for clip in split.clips} - set(KEYWORDS_10) for split in (prepared.split, prepared.tested)]
    assert words == [{"bed", "silence"}, {"bed", "cat", "silence"}]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("task=[left, right]", "has no class 'unknown'"),
        ("augment.neighbours.share=0.5", "know 'unknown' as one class"),
        ("train.distill.teachers=[rnn]", "know 'unknown' as one class"),
    ],
)
def test_words_apart_that_cannot_be_are_refused(twelve, tmp_path, wrong, said):
    train(twelve, tmp_path, "task=kws12", "train.epochs=1")
    with pytest.raises(ConfigError, match=said):
        train(twelve, tmp_path, *APART, wrong, name="lstm")
    assert len(list(tmp_path.iterdir())) == 1


class Loudness(nn.Module):
    """Logits that follow the mean of the features; its weight hardly moves."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 0.5, 0.1]))

    def forward(self, features, lengths):
        return features.mean((1, 2))[:, None] * self.weight


def test_augmentation_leaves_validation_alone(data):
    """The same weights have the same validation figures, whatever training clips go through."""
    cache = make_cache(data)
    task = resolve_task("folder", cache)
    split = select(cache, task, "validation")
    asked = []

    def vary(features, lengths, labels, n_clips, draw):
        asked.append(len(features))
        return features + 100, lengths, labels

    train_split = select(cache, task, "train")
    settings = TrainSettings(epochs=1, learning_rate=1e-9)
    figures = []
    for chosen in (None, vary):
        trainer = Trainer(Loudness(), settings, train_split, split, seed=1, device=torch.device("cpu"), vary=chosen)
        (record,) = trainer.run(lambda: False, lambda *_: None)
        figures.append(record)
    assert figures[0].loss_validation == figures[1].loss_validation
    assert figures[0].loss_train != figures[1].loss_train
    assert sum(asked) == len(train_split)


@pytest.mark.parametrize("n_steps", [1, 5, 6, 7, 12])
def test_stopped_after_any_step_and_resumed_is_bit_identical(data, tmp_path, n_steps):
    """Six steps an epoch: the middle of an epoch, its last step, and the first of the next."""
    whole = train(data, tmp_path / "whole", "train.epochs=3", name="lstm")
    done = 0

    def step(_progress, _n_steps):
        nonlocal done
        done += 1

    callbacks = Callbacks(step=step, should_stop=lambda: done >= n_steps)
    stopped = train(data, tmp_path / "parts", "train.epochs=3", name="lstm", callbacks=callbacks)
    assert stopped.metrics is None
    with pytest.raises(ConfigError, match="continue it with --resume"):
        train(data, tmp_path / "parts", "train.epochs=3", name="lstm")
    torch.manual_seed(123)  # whatever the process did in between
    resumed = train(data, tmp_path / "parts", "train.epochs=3", name="lstm", resume=True)
    assert resumed.history == whole.history
    assert same_weights(weights(resumed), weights(whole))
    assert same_weights(weights(resumed, runs.CHECKPOINT)["model"], weights(whole, runs.CHECKPOINT)["model"])


SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[3])
from tests.training.test_run import Callbacks, train
pause = int(sys.argv[4])
n_steps = 0
def step(now, total):
    global n_steps
    n_steps += 1
    if n_steps == pause:
        print("here", flush=True)
    if pause and n_steps in (pause, pause + 6):  # the second line never comes: killed here at the latest
        sys.stdin.readline()
options = {"name": "lstm", "resume": True, "callbacks": Callbacks(step=step)}
train(Path(sys.argv[1]), Path(sys.argv[2]), "train.epochs=16", "train.patience=16", **options)
"""


def start(data, runs_dir, pause):
    """Start a training of 96 steps; with a `pause`, it waits for a line after that step, and for good six later."""
    command = [sys.executable, "-c", SCRIPT, str(data), str(runs_dir), str(Path(__file__).parents[2]), str(pause)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_is_bit_identical(data, tmp_path):
    with start(data, tmp_path / "whole", 0) as process:
        assert process.wait() == 0
    moments = random.Random(5)
    for pause in (3, 11, 15, 20):
        with start(data, tmp_path / "parts", pause) as process:
            assert process.stdout.readline() == "here\n"
            process.stdin.write("\n")
            process.stdin.flush()
            time.sleep(moments.uniform(0, 0.05))  # somewhere in a step, in a save, or between
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    with start(data, tmp_path / "parts", 0) as process:
        assert process.wait() == 0
    (whole,), (parts,) = runs.list_runs(tmp_path / "whole"), runs.list_runs(tmp_path / "parts")
    assert parts.history == whole.history
    assert (parts.path / runs.HISTORY).read_bytes() == (whole.path / runs.HISTORY).read_bytes()
    assert same_weights(weights(parts), weights(whole))
    assert {k: v for k, v in parts.metrics.items() if k != "seconds"} == {
        k: v for k, v in whole.metrics.items() if k != "seconds"
    }


def test_damaged_checkpoint_is_one_clear_error(data, tmp_path):
    run = train(data, tmp_path, "train.epochs=1")
    (run.path / runs.METRICS).unlink()
    (run.path / runs.CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(IntegrityError, match=r"checkpoint\.pt: damaged; train the run again with --again"):
        train(data, tmp_path, "train.epochs=1", resume=True)


def test_weights_that_may_not_be_read_are_not_damaged(tmp_path, monkeypatch):
    close_file(monkeypatch, "best.pt")
    with pytest.raises(PermissionError):
        read_weights(tmp_path / "best.pt", torch.device("cpu"))


def test_a_finished_run_without_weights_is_trained_again(tmp_path):
    run = make_run(tmp_path, "lstm", 1)
    (run.path / runs.BEST).unlink()
    with pytest.raises(MissingError, match=r"best\.pt: the run has no weights; .*--again"):
        load_model(run, torch.device("cpu"))
    with pytest.raises(MissingError, match=r"has best\.pt; 'kwspot train NAME --again'"):
        runs.best_run(tmp_path)


def test_evaluation_does_not_depend_on_batch_size(data, tmp_path, monkeypatch):
    from kwspot.evaluation import evaluate as evaluation

    run = train(data, tmp_path, "train.epochs=2", name="bilstm")
    cache = make_cache(data)
    split = select(cache, resolve_task("folder", cache), "test")
    model, _ = load_model(run, torch.device("cpu"))
    by_size = [evaluation.logits_of(model, split, torch.device("cpu"), size) for size in (1, 5, 18, 1000)]
    for logits in by_size:
        assert len(logits) == 18  # the last, partial batch counts
        np.testing.assert_allclose(logits, by_size[0], atol=1e-5)
        assert (logits.argmax(1) == by_size[0].argmax(1)).all()


def test_other_words_than_the_runs_are_refused(data, tmp_path):
    run = train(data, tmp_path / "runs", "train.epochs=1")
    make_cache(tmp_path / "other", words=("bed", "cat"))
    with pytest.raises(MissingError, match="no clips of left, right, up, which the run was trained on; the corpus has"):
        evaluate_run(run, split="test", data=tmp_path / "other", device="cpu")


def test_a_folder_run_hears_its_own_words_of_a_larger_corpus(data, tmp_path):
    run = train(data, tmp_path / "runs", "train.epochs=1")
    make_cache(tmp_path / "other", words=("bed", "left", "right", "up"), seed=3)
    assert evaluate_run(run, split="test", data=tmp_path / "other", device="cpu")["n"] == 18


def test_evaluation_is_kept_in_the_run(data, tmp_path):
    run = train(data, tmp_path, "train.epochs=1")
    result = evaluate_run(run, split="test", data=data, device="cpu")
    assert json.loads((run.path / "eval-test.json").read_text()) == json.loads(json.dumps(result))
    assert (result["n"], result["n_speakers"]) == (18, 6)


@pytest.mark.parametrize(
    "settings", [["train.learning_rate=1e38", "train.clip_norm=null"], ["train.learning_rate=1e38"]]
)
def test_a_run_that_diverges_ends_and_is_not_finished(data, tmp_path, settings):
    with pytest.raises(DivergedError, match=r"diverged in epoch \d+ at step \d+: the loss is .*; lower train.learning"):
        train(data, tmp_path, "train.epochs=4", *settings, name="lstm")
    (run,) = runs.list_runs(tmp_path)
    assert run.state == "epoch 0"


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_cache_of_no_numbers_is_damaged_and_no_divergence(tmp_path, split):
    cache = make_cache(tmp_path / "data")
    frames = np.load(cache.folder / "frames.npy", mmap_mode="r+")
    frames[next(clip.row for clip in cache.clips if clip.split == split), 3] = np.nan
    frames.flush()
    with pytest.raises(IntegrityError, match="the feature cache is damaged"):
        train(tmp_path / "data", tmp_path, "train.epochs=1", "model.feature_norm=none")


@pytest.mark.parametrize("damage", [[], {"model": {}}, {"model": None, "average": None}, 3])
def test_a_checkpoint_of_something_else_is_one_error(data, tmp_path, damage):
    stopped = train(data, tmp_path, "train.epochs=2", callbacks=Callbacks(should_stop=lambda: True))
    torch.save(damage, stopped.path / runs.CHECKPOINT)
    with pytest.raises(IntegrityError, match="not of this run; start over with --again"):
        train(data, tmp_path, "train.epochs=2", resume=True)


def test_weights_of_another_model_are_one_error(data, tmp_path):
    run = train(data, tmp_path, "train.epochs=1")
    torch.save({"head.weight": torch.zeros(2)}, run.path / runs.BEST)
    with pytest.raises(IntegrityError, match="not the weights of this run"):
        load_model(run, torch.device("cpu"))
