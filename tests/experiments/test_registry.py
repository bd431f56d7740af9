"""The registry: strict, complete in its complaints, and free of YAML's surprises."""

import json
from pathlib import Path

import pytest

from kwspot.errors import ConfigError, MissingError
from kwspot.experiments.registry import find_registry, load_experiment, load_registry, own_names, read_yaml
from kwspot.experiments.settings import Experiment, FrontEnd

ROOT = Path(__file__).parents[2]


@pytest.fixture
def registry(tmp_path):
    def write(text):
        path = tmp_path / "experiments.yaml"
        path.write_text(text)
        return path

    return write


def test_words_that_yaml_takes_for_booleans_stay_words(registry):
    path = registry("experiments: {a: {why: x, task: [yes, no, on, off, Yes, TRUE]}}")
    assert load_experiment("a", path).task == ["yes", "no", "on", "off", "Yes", "TRUE"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-2e3", -2000.0),
        ("3", 3),
        ("-3", -3),
        ("010", 10),
        ("0o17", 15),
        ("0x1f", 31),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("true", True),
        ("1e", "1e"),
        ("~", None),
    ],
)
def test_scalars_are_read_as_yaml_1_2(text, value):
    read = read_yaml(text, "here")
    assert read == value
    assert type(read) is type(value)


def test_every_problem_is_named_at_once(registry):
    path = registry("""
defaults: {train: {epoch: 3}}
experiments:
  a: {why: x, model: {cell: lstn, dropout: 1.5}}
  b: {task: kws36, why: y}
""")
    with pytest.raises(ConfigError) as error:
        load_registry(path)
    message = str(error.value)
    assert "a.train.epoch: unknown; did you mean 'epochs'?" in message
    assert "b.train.epoch: unknown; did you mean 'epochs'?" in message
    assert "a.model.cell: should be 'rnn', 'rnn_ln', 'fastrnn', 'mingru', 'lstm' or 'gru', got 'lstn'" in message
    assert "a.model.dropout: should be less than 1, got 1.5" in message


def test_an_experiment_is_named_by_its_key(registry):
    with pytest.raises(ConfigError, match=r"a\.name: unknown; an experiment is named by its key, 'a:'"):
        load_registry(registry("experiments: {a: {why: x, name: b}}"))
    with pytest.raises(ConfigError, match=r"lstm\.name: unknown"):
        load_experiment("lstm", overrides=["name=b"])
    with pytest.raises(ConfigError, match=r"'my words': no name for an experiment; letters, digits"):
        load_registry(registry("experiments: {my words: {why: x}}"))


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("{ema_decay: 0.99, swa_epochs: 3}", "ema_decay and swa_epochs are both set; choose one"),
        ("{keep_last: true}", "keep_last keeps what patience would not wait for; set patience to null"),
    ],
)
def test_settings_of_training_that_contradict_each_other_are_refused(registry, train, message):
    path = registry(f"experiments: {{a: {{why: x, train: {train}}}}}")
    with pytest.raises(ConfigError, match=rf"a\.train: {message}"):
        load_registry(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("augment: {snr_db: [20, 3]}", r"a\.augment\.snr_db: from the lower to the higher, got \[20.*write \[3"),
        (
            "augment: {neighbours: {share: 0.5, cut_shift_ms: [9, 8]}}",
            r"a\.augment\.neighbours\.cut_shift_ms: from the",
        ),
        (
            "model: {attention_heads: 2, pooling: mean}",
            r"a\.model: attention_heads are of pooling: attention, not of mean",
        ),
        ("model: {embedding_size: 8, pooling: last}", r"a\.model: embedding_size makes an encoder, which reads in one"),
    ],
)
def test_settings_without_effect_are_refused(registry, settings, message):
    with pytest.raises(ConfigError, match=message):
        load_registry(registry(f"experiments: {{a: {{why: x, {settings}}}}}"))


def test_a_background_does_not_go_with_the_waveform_route(registry):
    path = registry("experiments: {a: {why: x, augment: {route: waveform}, train: {background: {jitter: 0.4}}}}")
    with pytest.raises(ConfigError, match=r"a: train\.background does not go with augment\.route: waveform"):
        load_registry(path)


def test_an_experiment_is_like_another_and_says_what_differs(registry):
    path = registry("""
defaults: {train: {epochs: 7}}
experiments:
  c: {like: b, why: z, model: {hidden_size: 9}}
  a: {why: x, model: {cell: lstm, hidden_size: 5}, train: {patience: null}}
  b: {like: a, why: y, model: {dropout: 0.1}}
""")
    c = load_experiment("c", path)
    assert (c.why, c.model.cell, c.model.hidden_size, c.model.dropout) == ("z", "lstm", 9, 0.1)
    assert (c.train.epochs, c.train.patience) == (7, None)
    assert load_experiment("a", path).model.dropout == 0.2


def test_a_registry_extends_the_packaged_one(registry):
    path = registry("""
defaults: {train: {epochs: 7}}
experiments:
  mine: {like: lstm, why: x, model: {hidden_size: 9}}
  gru_stream: {why: another one of this name}
""")
    packaged, known = load_registry(ROOT / "experiments.yaml"), load_registry(path)
    assert list(known)[:2] == own_names(path) == ["mine", "gru_stream"]
    assert set(known) == {"mine", *packaged}
    mine = known["mine"]
    assert (mine.model.cell, mine.model.head_norm, mine.model.hidden_size, mine.train.epochs) == ("lstm", True, 9, 7)
    assert known["lstm"] == packaged["lstm"]  # its defaults are the packaged ones
    assert known["gru_stream"].model.cell == "rnn"
    assert load_experiment("rnn_best", path) == packaged["rnn_best"]


def test_a_registry_may_stand_alone(registry):
    path = registry("extends: none\nexperiments: {a: {why: x}}")
    assert list(load_registry(path)) == ["a"]
    with pytest.raises(ConfigError, match=r"b\.like: no experiment 'lstm'"):
        load_registry(registry("extends: none\nexperiments: {b: {why: x, like: lstm}}"))
    with pytest.raises(ConfigError, match=r"extends: all: write packaged or none"):
        load_registry(registry("extends: all\nexperiments: {}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{a: {why: x, like: b}}", "a.like: no experiment 'b'"),
        ("{a: {why: x, like: b}, b: {why: y, like: a}}", "goes round in a circle"),
        ("{a: {why: x}, b: {like: a}}", r"b\.why: missing"),
        ("{a: 3}", "a: needs a mapping of settings"),
    ],
)
def test_an_experiment_that_is_like_nothing_is_refused(registry, text, message):
    with pytest.raises(ConfigError, match=message):
        load_registry(registry(f"experiments: {text}"))


def test_parts_that_are_not_there_do_not_rename_a_run():
    """Settings that came later are None by default, and None is left out of what names a run."""
    deciding = load_experiment("lstm").deciding()
    assert "augment" not in deciding
    assert set(deciding["train"]) == {
        "optimizer", "learning_rate", "batch_size", "epochs", "patience", "clip_norm", "class_weights"
    }  # fmt: skip
    record = json.loads((ROOT / "results" / "study" / "lstm-s1-ca6dfb36" / "run.json").read_text())
    assert record["settings"] == deciding
    settings = load_experiment("rnn_best")
    assert Experiment(name="x", why="y", **json.loads(json.dumps(settings.deciding()))).augment == settings.augment


def test_reason_is_mandatory(registry):
    with pytest.raises(ConfigError, match=r"a\.why: missing"):
        load_registry(registry("experiments: {a: {}}"))


@pytest.mark.parametrize("task", ["kws36", "[yes]", "[yes, yes]"])
def test_impossible_task_is_refused(registry, task):
    with pytest.raises(ConfigError, match=r"a\.task"):
        load_registry(registry(f"experiments: {{a: {{why: x, task: {task}}}}}"))


@pytest.mark.parametrize("text", ["[1, 2", "just words", "experiments: [a]", "other: 1\nexperiments: {}"])
def test_broken_registry_is_one_error(registry, text):
    with pytest.raises(ConfigError, match=r"experiments\.yaml"):
        load_registry(registry(text))


def test_values_are_not_converted_silently(registry):
    with pytest.raises(ConfigError, match=r"a\.train\.epochs"):
        load_registry(registry("experiments: {a: {why: x, train: {epochs: '3'}}}"))


def test_overrides_reach_one_experiment_only(registry):
    path = registry("experiments: {a: {why: x}, b: {why: y}}")
    changed = load_experiment("a", path, ["train.epochs=3", "model.cell=lstm"])
    assert (changed.train.epochs, changed.model.cell) == (3, "lstm")
    assert load_experiment("b", path).train.epochs != 3
    with pytest.raises(ConfigError, match=r"a\.train\.epoch: unknown; did you mean 'epochs'"):
        load_experiment("a", path, ["train.epoch=3"])
    with pytest.raises(ConfigError, match=r"write it as section\.key=value"):
        load_experiment("a", path, ["epochs"])


def test_unknown_experiment_suggests_a_known_one():
    with pytest.raises(ConfigError, match="no experiment 'lstn'; did you mean 'lstm'"):
        load_experiment("lstn")


def test_registry_is_looked_up_in_order(registry, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("KWSPOT_REGISTRY", raising=False)
    assert "rnn" in load_registry()  # the packaged one
    given = registry("experiments: {given: {why: x}}")
    monkeypatch.setenv("KWSPOT_REGISTRY", str(given))
    assert own_names() == ["given"]
    other = elsewhere / "experiments.yaml"
    other.write_text("experiments: {beside: {why: x}}")
    assert find_registry() == given
    assert own_names(other) == ["beside"]
    monkeypatch.delenv("KWSPOT_REGISTRY")
    assert own_names() == ["beside"]
    with pytest.raises(MissingError):
        find_registry(tmp_path / "absent.yaml")


def test_defaults_of_the_file_are_those_of_the_code():
    """Whoever leaves a section out gets the study's set-up too."""
    experiment = load_experiment("rnn")
    assert experiment == type(experiment)(name="rnn", why=experiment.why)


def test_units_are_derived_and_never_rounded():
    front_end = FrontEnd()
    assert (front_end.win_length, front_end.hop_length, front_end.clip_length) == (480, 160, 16_000)
    assert [front_end.n_frames(n) for n in (1, 480, 639, 640, 16_000)] == [1, 1, 1, 2, 98]
    with pytest.raises(ValueError, match="whole number"):
        FrontEnd(hop_ms=10.03)


def test_digest_knows_every_setting():
    front_ends = [FrontEnd(), FrontEnd(hop_ms=20), FrontEnd(f_max=7600), FrontEnd(log_offset=1e-5), FrontEnd(n_mels=64)]
    assert len({front_end.digest for front_end in front_ends}) == len(front_ends)


BOMB = "\n".join(
    [f"a0: &a0 [{', '.join(['x'] * 9)}]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10))]
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"experiments: {a: {why: caf\xe9}}", "not UTF-8, byte 26"),
        (BOMB.encode(), "aliases come to more than 100,000 values"),
        (b"experiments: &a {a: *a}", "an alias within itself|found undefined alias|needs a mapping"),
        (b"[" * 5000, "nested too deeply"),
        (b"experiments: {a: {why: x, like: [a]}}", r"no experiment '\['a'\]'"),
        (b"defaults: [1]\nexperiments: {a: {why: x}}", "defaults: needs a mapping"),
        (b"experiments: {a: {why: x, task: 2020-99-99}}", "month must be|experiments.yaml"),
        (b"experiments: {../a: {why: x}}", "../a': no name for an experiment"),
        (b'experiments: {a: {why: "\\ud800"}}', "half a character"),
        (b"#" * 2**21, "more than 1.05 MB; a registry is not as long"),
        (b"experiments: {a: {why: x, train: {epochs: " + b"9" * 5000 + b"}}}", "4300 digits"),
        (
            b"experiments:\n  a: {why: x}\n  b: {why: y}\n  a: {why: z}",
            r"'a' twice; keep one of them .*line 4, column 3",
        ),
    ],
    ids=["latin", "bomb", "self", "deep", "like", "defaults", "date", "name", "half", "long", "digits", "twice"],
)
def test_a_hostile_registry_is_one_error(tmp_path, text, message):
    path = tmp_path / "experiments.yaml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_registry(path)
    assert len(str(caught.value)) < 1000
