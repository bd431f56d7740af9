"""What `import kwspot` offers: the same answers as the commands, and a plain error for what cannot be right."""

import json
from pathlib import Path
import pkgutil
import pydoc
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import kwspot
from kwspot.audio.reading import resample
from kwspot.cli import app
from kwspot.errors import MissingError
from tests.sounds import RATE, tone, write_sound
from tests.speech import spoken

SETTINGS = {"model": "keywords10", "threshold": 0.8, "smoothing_ms": 200, "refractory_ms": 300}


@pytest.fixture(scope="module")
def said():
    return spoken(2)


def printed(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_predict_answers_as_the_command_does(tmp_path):
    path = write_sound(tmp_path / "x.wav", tone(440))
    (record,) = printed("predict", path, "--json", "--top", 3)
    answer = kwspot.predict(path, n_top=3)
    assert record == {"schema": 1, "path": str(path), **answer.to_dict(), "model": "keywords10"}
    assert kwspot.predict(str(path)) == kwspot.predict(path)
    with path.open("rb") as file:
        assert kwspot.predict(file) == kwspot.predict(path)
    same = kwspot.predict(tone(440), RATE)
    assert same.posterior == pytest.approx(answer.posterior, abs=0.01)  # the file has 16 bits
    assert repr(answer) == f"<Prediction {answer.word} {answer.posterior:.2f}>"


def test_spot_answers_as_the_command_does_for_a_file_a_waveform_and_blocks(tmp_path, said):
    waveform, words = said
    path = write_sound(tmp_path / "long.wav", waveform)
    options = ("--model", "keywords10", "--threshold", 0.8, "--smoothing-ms", 200, "--refractory-ms", 300, "--json")
    records = printed("spot", path, *options)
    events = list(kwspot.spot(path, **SETTINGS))
    assert [event.to_dict() for event in events] == [
        {key: record[key] for key in ("word", "posterior", "start_s", "end_s")} for record in records
    ]
    assert [event.word for event in events] == [word for word, _, _ in words]
    pcm = np.round(waveform * 32767).astype(np.int16)
    blocks = (block for i in range(0, len(pcm), 700) for block in (pcm[i : i + 700], pcm[:0]))  # one with nothing new
    for sound in (pcm, waveform.tolist(), blocks):
        again = list(kwspot.spot(sound, RATE, **SETTINGS))
        assert [event.word for event in again] == [event.word for event in events]
        assert [event.start_s for event in again] == pytest.approx([event.start_s for event in events], abs=0.05)
    assert repr(events[0]).startswith(f"<Event {events[0].word} ")


def test_a_waveform_of_another_rate_is_the_same_sound(said):
    waveform, words = said
    fast = resample(waveform, RATE, 48_000)
    assert [event.word for event in kwspot.spot(fast, 48_000, **SETTINGS)] == [word for word, _, _ in words]


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (tone(440, rate=44_100), None, "44,100 samples without a sample_rate"),
        (np.array([0.0, np.nan]), RATE, "NaN or infinity"),
        (tone(440)[None], RATE, r"one channel is needed, got shape \(1, 16000\)"),
        (tone(440) * 20_000, RATE, r"in \[-1, 1\] is needed, got samples up to 6e\+03"),
        (np.zeros(9, np.uint8), RATE, "got uint8"),
        (np.zeros(0, np.float32), RATE, r"got shape \(0,\)"),
        (np.zeros(9, np.int64), RATE, "8, 16 or 32 bits of full scale are needed, or floats, got int64"),
        (b"RIFF", RATE, "one channel is needed"),
        (tone(440), 16, "1,000 to 768,000 Hz is needed, got 16"),
        (tone(440), 0, "1,000 to 768,000 Hz is needed, got 0"),
        (tone(440), "16000", "a number of Hz, got '16000'"),
    ],
)
def test_a_waveform_that_cannot_be_right_is_refused(waveform, rate, message):
    with pytest.raises(ValueError, match=message):
        kwspot.predict(waveform, rate)


def test_a_rate_is_needed_for_samples_and_only_for_them(tmp_path):
    with pytest.raises(ValueError, match="without a sample_rate"):
        kwspot.spot(tone(440))
    path = write_sound(tmp_path / "x.wav", tone(440))
    for function in (kwspot.predict, kwspot.spot):
        with pytest.raises(ValueError, match="its own sample rate"):
            function(path, RATE)
    with pytest.raises(MissingError):
        kwspot.predict(tmp_path / "none.wav")
    with path.open("rb") as file, pytest.raises(ValueError, match="an open file is not read in blocks"):
        kwspot.spot(file)


def test_an_answer_of_no_words_is_refused():
    with pytest.raises(ValueError, match="n_top: 1 or more is needed, got 0"):
        kwspot.predict(tone(440), RATE, n_top=0)


def test_a_list_of_numbers_is_a_waveform():
    assert kwspot.predict(tone(440).tolist(), RATE) == kwspot.predict(tone(440).astype(float), RATE)


def test_dir_and_help_show_everything():
    assert [name for name in dir(kwspot) if not name.startswith("_")] == sorted(set(kwspot.__all__) - {"__version__"})
    text = pydoc.plain(pydoc.render_doc(kwspot))
    for name in ("predict", "spot", "listen", "enroll"):
        assert f"\n    {name}(" in text
        assert getattr(kwspot, name).__annotations__["return"]
    for name in ("Spotter", "Stream", "Prediction", "Event"):
        assert f"\n    class {name}(" in text


def test_no_module_takes_the_place_of_a_function():
    modules = {module.name for module in pkgutil.iter_modules([str(Path(kwspot.__file__).parent)])}
    assert not modules & set(kwspot.__all__)


def test_nothing_of_it_needs_torch(tmp_path):
    write_sound(tmp_path / "x.wav", tone(440))
    code = (
        "import sys, kwspot\nkwspot.predict('x.wav')\nlist(kwspot.spot('x.wav'))\nkwspot.listen\nkwspot.enroll\n"
        "print([name for name in ('torch', 'matplotlib', 'sounddevice') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
