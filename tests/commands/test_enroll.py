"""`kwspot enroll`: from a folder, or from text, to a model that every command takes; and one line for what is wrong."""

import json
import os

import numpy as np
import onnx
import pytest
import soundfile
from typer.testing import CliRunner

from kwspot.cli import app
from kwspot.enrollment.enroll import enroll_takes
from kwspot.enrollment.spoken import speak
from kwspot.inference.spotter import NEEDED, Spotter
from kwspot.synthesis.engines import installed
from kwspot.web.answers import Answers
from tests.sounds import RATE, write_sound
from tests.words import word, write_words

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with clips of two words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KWSPOT_RUNS", raising=False)
    write_words(tmp_path / "clips", ("rise", "fall"))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def enroll(*arguments):
    """Enroll, of clips without other voices, which take seconds."""
    return run("enroll", *arguments, *([] if "--text" in arguments else ["--voices", 0]), "-q")


def files(project):
    return sorted(path.relative_to(project / "runs").as_posix() for path in (project / "runs").rglob("*.*"))


def test_a_model_that_every_command_takes(project):
    done = run("enroll", "house", "--clips", "clips")
    assert done.exit_code == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "words: fall, rise; window 1.00 s"
    assert said[1].startswith("expected: ")
    assert "8 clips, takes left out" in said[1]
    assert said[2].startswith("threshold: ")
    (caution,) = [line for line in said if line.startswith("caution: one voice: ")]
    assert caution.endswith("too high for other people; in our tests about a third of their takes were detected")
    assert "caution: no other voices say fall, rise; of an English word, --text WORD adds some" in said
    assert done.stderr.splitlines()[-1] == "wrote runs/enrolled/house.onnx; next: kwspot listen --model house"
    assert files(project) == ["enrolled/house.onnx"]
    predicted = run("predict", "--model", "house", "--json", "--top", 4, "clips/rise/take1.wav")
    assert {entry["word"] for entry in json.loads(predicted.stdout)["top"]} == {"fall", "rise", "unknown", "silence"}
    sound = np.concatenate([np.zeros(RATE, np.float32), word("rise", 1), np.zeros(RATE, np.float32)])
    write_sound(project / "long.wav", sound)
    assert run("spot", "--model", "house", "long.wav").exit_code == 0
    assert "house" in run("models").stdout
    assert run("export", "house", "--out", "copy.onnx").stdout.startswith("copy.onnx\t")
    assert (project / "copy.onnx").read_bytes() == (project / "runs/enrolled/house.onnx").read_bytes()
    assert run("export", "house", "--stream").exit_code == 2
    refused = run("export", "house", "--for", "c")
    assert (refused.exit_code, "C is written of runs and bundled models" in refused.stderr) == (2, True)
    refused = run("spot", "--stream", "--model", "house", "long.wav")
    assert (refused.exit_code, refused.stderr) == (
        3, "error: house: a model of own words, which have no stream; use it window by window\n"
    )  # fmt: skip
    assert run("predict", "--model", "copy.onnx", "clips/rise/take1.wav").exit_code == 0
    shown = run("models", "house").stdout
    assert "fall 4, rise 4" in shown
    assert json.loads(run("models", "house", "--json").stdout)["enrollment"]["sources"][0]["word"] == "fall"


def test_a_model_of_other_making_is_listed_without_what_it_does_not_say(project):
    model = onnx.load(Spotter.load().path)
    needed = [entry for entry in model.metadata_props if entry.key in NEEDED]
    del model.metadata_props[:]
    model.metadata_props.extend(needed)
    (project / "runs/enrolled").mkdir(parents=True)
    onnx.save(model, project / "runs/enrolled/plain.onnx")
    listed = run("models")
    assert listed.exit_code == 0, listed.stderr
    (line,) = [line.split() for line in listed.stdout.splitlines() if line.startswith("plain")]
    assert line[2:4] == ["–", "–"]
    described = Answers(project / "runs", project, "plain", enrolling=False).models()["models"]
    assert any(one["name"] == "plain" for one in described)


def test_a_model_is_removed(project):
    enroll("house", "--clips", "clips")
    for name in ("keywords10", "nothing"):
        assert run("models", name, "--remove").exit_code == 2
    assert "--remove: NAME is missing" in run("models", "--remove").stderr
    assert run("models", "house", "--remove").stderr == "removed runs/enrolled/house.onnx\n"
    assert files(project) == []
    assert run("predict", "--model", "house", "clips").exit_code == 3


def test_names_keep_models_apart(project):
    enroll("house", "--clips", "clips")
    again = enroll("house", "--clips", "clips")
    assert again.exit_code == 2
    assert again.stderr == (
        "error: runs/enrolled/house.onnx: there is one; --again replaces it, --add adds words to it\n"
    )
    assert enroll("garage", "--clips", "clips").exit_code == 0
    assert enroll("house", "--clips", "clips", "--again").exit_code == 0
    write_words(project / "more", ("high",), first_seed=500)
    added = enroll("house", "--clips", "more", "--add")
    assert added.stdout.splitlines()[0] == "words: fall, rise, high; window 1.00 s"


@pytest.mark.skipif("pico" not in installed(), reason="no synthesiser")
def test_what_is_there_is_not_added_and_voices_weigh_as_if_all_came_at_once(project):
    for name in ("window", "yellow", "seven"):
        said = speak([name], n_voices=3, engines=["hibari"], seed=3)
        takes = [take.waveform for take in said if take.word == name]
        for folder in ("all", "more" if name == "seven" else "first"):
            for n, take in enumerate(takes):
                write_sound(project / folder / name / f"take{n}.wav", take)

    def n_others(name):
        sources = json.loads(run("models", name, "--json").stdout)["enrollment"]["sources"]
        assert {s["word"] for s in sources if s["spoken"]} == {"window", "yellow", "seven", "unknown"}
        return sum(s["word"] == "unknown" for s in sources)

    options = ("--engine", "pico", "--voices", "9", "--quiet")
    assert run("enroll", "one", "--clips", "all", *options).exit_code == 0
    assert run("enroll", "two", "--clips", "first", *options).exit_code == 0
    assert run("enroll", "two", "--clips", "more", "--add", *options).exit_code == 0
    assert n_others("two") == pytest.approx(1.33 * n_others("one"), rel=0.05)  # a third more: never fewer than before
    before = (project / "runs/enrolled/two.onnx").read_bytes()
    for folder in ("first", "more", "all"):
        again = run("enroll", "two", "--clips", folder, "--add", *options)
        assert (again.exit_code, "nothing to add" in again.stderr) == (2, True)
    assert (project / "runs/enrolled/two.onnx").read_bytes() == before


def test_words_that_another_process_enrolled_meanwhile_are_not_lost(project, monkeypatch):
    enroll("house", "--clips", "clips")
    path = project / "runs/enrolled/house.onnx"
    write_words(project / "more", ("high",), first_seed=500)

    def meanwhile(*arguments, **options):
        made = enroll_takes(*arguments, **options)
        os.utime(path, ns=(1, 1))
        return made

    monkeypatch.setattr("kwspot.enrollment.enroll.enroll_takes", meanwhile)
    before = path.read_bytes()
    done = enroll("house", "--clips", "more", "--add")
    assert (done.exit_code, path.read_bytes()) == (2, before)
    assert "house.onnx: changed while this was made, and left as it is; run this again" in done.stderr
    assert files(project) == ["enrolled/house.onnx"]


def silent(project):
    write_sound(project / "clips/rise/silent.wav", np.zeros(RATE, np.float32))


def unreadable(project):
    (project / "clips/rise/broken.wav").write_bytes(b"RIFF....")


def a_minute(project):
    write_sound(project / "clips/rise/minute.wav", np.tile(word("rise"), 80))


def twice(project):
    (project / "clips/rise/copy.wav").write_bytes((project / "clips/rise/take1.wav").read_bytes())


def softer(project):
    clip, rate = soundfile.read(project / "clips/rise/take1.wav", dtype="float32")
    write_sound(project / "clips/rise/softer.wav", clip / 2, rate)


def only_noise(project):
    for i in range(3):
        noise = np.random.default_rng(i).normal(0, 0.05, RATE).astype(np.float32)
        write_sound(project / f"clips/hum/{i}.wav", noise)


def nothing(project):
    (project / "empty").mkdir()


CLIPS = ["house", "--clips", "clips"]


@pytest.mark.parametrize(
    ("prepare", "arguments", "code", "message"),
    [
        (silent, CLIPS, 4, "clips/rise/silent.wav: silent"),
        (unreadable, CLIPS, 4, "clips/rise/broken.wav: no readable audio"),
        (a_minute, CLIPS, 4, "clips/rise/minute.wav: "),
        (twice, CLIPS, 2, "clips/rise/take1.wav: the same clip as clips/rise/copy.wav"),
        (softer, CLIPS, 2, "clips/rise/take1.wav: the same clip as clips/rise/softer.wav at another level"),
        (only_noise, CLIPS, 4, "hum: only noise in its 3 clips"),
        (nothing, ["house", "--clips", "empty"], 3, "empty: no clips; expected empty/<word>/*.wav"),
        (nothing, ["house", "--clips", "nowhere"], 3, "nowhere: no such folder"),
        (nothing, ["house"], 2, "enroll needs clips or texts"),
        (nothing, ["keywords10", "--clips", "clips"], 2, "'keywords10': a model that comes with kwspot"),
        (nothing, ["encoder", "--clips", "clips"], 2, "'encoder': a model that comes with kwspot"),
        (nothing, ["a/b", "--clips", "clips"], 2, "'a/b': no name for a model"),
        (nothing, ["x.onnx", "--clips", "clips"], 2, "'x.onnx': no name for a model"),
        (nothing, ["x" * 201, "--clips", "clips"], 2, "too long a name for a model; 200 letters at most"),
        (nothing, [*CLIPS, "--add"], 3, "runs/enrolled/house.onnx: no such model to add to"),
        (nothing, [*CLIPS, "--add", "--again"], 2, "give one of them"),
        (nothing, [*CLIPS, "--false-alarms-per-hour", 0.001], 2, "a number from 0.01 on is needed, got 0.001"),
        (nothing, [*CLIPS, "--false-alarms-per-hour", "inf"], 2, "a finite number is needed, got inf"),
        (nothing, ["house", "--text", "مرحبا"], 2, "the voices read English, not Arabic letters"),
        (nothing, ["house", "--text", "123"], 2, "'123': no letters to read"),
        (nothing, ["house", "--text", "go", "--text", "Go"], 2, "given twice"),
        (nothing, ["house", "--text", "go", "--voices", 1], 2, "--text needs voices: --voices 2 or more"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(project, prepare, arguments, code, message):
    prepare(project)
    done = enroll(*arguments)
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (project / "runs").exists()


def test_one_word_is_told_from_the_rest(project):
    write_words(project / "one", ("rise",))
    done = enroll("wake", "--clips", "one")
    assert done.exit_code == 0, done.stderr
    assert "caution: one word: it is told from other speech, and from nothing else" in done.stdout


def test_text_needs_a_synthesiser(project, monkeypatch):
    for module in ("synthesis.corpus", "enrollment.spoken"):
        monkeypatch.setattr(f"kwspot.{module}.installed", dict)
    done = enroll("house", "--text", "hey computer")
    assert done.exit_code == 3
    assert done.stderr == "error: no speech synthesiser is installed; run: pip install 'kwspot[synth]'\n"


@pytest.mark.skipif("pico" not in installed(), reason="no synthesiser")
def test_texts_and_clips_together(project):
    done = enroll("house", "--clips", "clips", "--text", "hey computer", "--voices", 4, "--engine", "pico")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("words: fall, rise, hey computer; window 1.")
    known = json.loads(run("models", "house", "--json").stdout)
    assert "caution: only synthetic voices say hey computer, and the estimate is of the other words" in done.stdout
    takes = [source["word"] for source in known["enrollment"]["sources"]]
    assert takes.count("hey computer") == 4
    assert takes.count("unknown") == 16
    assert soundfile.info(project / "clips/rise/take1.wav").samplerate == RATE


@pytest.mark.skipif("pico" not in installed(), reason="no synthesiser")
def test_names_that_say_what_was_recorded_are_spoken(project):
    """Another synthesiser stands for the people; of one word the folder has a wrong name."""
    for name, text in (("window", "window"), ("Sky_Blue", "sky blue"), ("banana", "seven"), ("word1", "seven")):
        for i, take in enumerate(t for t in speak([text], n_voices=2, engines=["hibari"], seed=2) if t.is_keyword):
            write_sound(project / f"spoken/{name}/{i}.wav", take.waveform)
    (project / "spoken/word1/0.wav").unlink()
    (project / "spoken/banana/1.wav").unlink()
    done = run("enroll", "house", "--clips", "spoken", "--voices", 3, "--engine", "pico", "-q")
    assert done.exit_code == 0, done.stderr
    said = done.stdout.splitlines()
    assert "voices: synthesisers say Sky_Blue, window too" in said
    assert any(line.endswith("in our tests about a third of their takes were detected") for line in said)  # of some
    assert "caution: no other voices say banana, word1; of an English word, --text WORD adds some" in said
    sources = json.loads(run("models", "house", "--json").stdout)["enrollment"]["sources"]
    assert [s["word"] for s in sources if s["spoken"]].count("window") == 3
    shown = run("models", "house").stdout
    assert "takes            Sky_Blue 2, banana 1, window 2, word1 1\n" in shown
    assert "synthetic takes  Sky_Blue 3, unknown 12, window 3\n" in shown
    again = run("enroll", "house", "--clips", "clips", "--add", "--voices", 3, "--engine", "pico", "-q")
    assert again.exit_code == 0, again.stderr


@pytest.mark.skipif("pico" not in installed(), reason="no synthesiser")
def test_the_words_of_a_model_are_no_other_texts_of_the_words_added_to_it(project, monkeypatch):
    """Nor are words that were recorded those of a text beside them."""
    asked = []

    def listen(texts, **options):
        asked.append((sorted(texts), sorted(set(options["avoid"]) - set(texts))))
        return speak(texts, **options)

    monkeypatch.setattr("kwspot.enrollment.spoken.speak", listen)
    monkeypatch.setattr("kwspot.enrollment.voices.speak", listen)
    how = ["--voices", 2, "--engine", "pico", "-q"]
    assert run("enroll", "house", "--clips", "clips", *how).exit_code == 0
    assert run("enroll", "house", "--text", "yes", "--add", *how).exit_code == 0
    write_words(project / "more", ("high",), first_seed=500)
    assert run("enroll", "house", "--text", "no", "--clips", "more", "--add", *how).exit_code == 0
    known = ["fall", "rise"]
    assert asked == [
        (known, []),
        (["yes"], known),
        (["no"], ["fall", "high", "rise", "yes"]),
        (["high"], ["fall", "no", "rise", "yes"]),
    ]
