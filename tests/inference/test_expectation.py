"""What a threshold costs is said in words that are true of how it was measured."""

import pytest

from kwspot import Spotter
from kwspot.inference.expectation import estimate, expectation, purpose

MEASURED = {
    "threshold": 0.7, "smoothing_ms": 200.0, "refractory_ms": 300.0, "snr_db": 10.0, "hours": 4.0,
    "curve": [[0.4, 60.0, 0.02], [0.6, 6.0, 0.05], [0.8, 2.0, 0.09], [0.95, 0.25, 0.3]],
}  # fmt: skip
READ = {name: value for name, value in MEASURED.items() if name != "snr_db"}
ENROLLED = {"spotting": READ | {"hours": 1.0, "target_per_hour": 4.0}, "enrollment": {}}


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        (0.2, "more than 60 false alarms an hour, fewer than 2.0%"),
        (0.5, "33 false alarms an hour, 3.5%"),
        (0.8, "2 false alarms an hour, 9.0%"),
        (0.95, "0.25 false alarms an hour, 30.0%"),
        (0.99, "fewer than 0.25 false alarms an hour, more than 30.0%"),
    ],
)
def test_what_a_threshold_costs_is_read_off_the_curve(threshold, said):
    assert expectation({"spotting": MEASURED}, threshold) == (
        f"Expected: {said} of the keywords missed; measured on 4 hours of words in noise at 10 dB."
    )


def test_no_more_than_all_and_no_fewer_than_none_are_missed():
    curve = MEASURED | {"curve": [[0.4, 60.0, 0.0], [0.9, 0.25, 1.0]]}
    assert ", 0.0% of the keywords missed" in expectation({"spotting": curve}, 0.2)
    assert ", 100.0% of the keywords missed" in expectation({"spotting": curve}, 1.0)


def test_words_missed_in_sentences_are_not_said_to_be_all_words():
    assert expectation({"spotting": READ}, 0.8) == (
        "Expected: 2 false alarms an hour, 9.0% of the keywords inside sentences missed; measured on 4 hours of people "
        "reading aloud."
    )


def test_of_own_words_it_is_said_what_was_estimated_on_what():
    assert expectation(ENROLLED, 0.8) == (
        "Expected: 2 false alarms an hour, 9.0% of the keywords missed; alarms estimated on 1 hour of other people's "
        "speech, misses on your takes."
    )
    one_take = {"spotting": {"threshold": 0.7, "target_per_hour": 1.0, "curve": []}, "enrollment": {}}
    assert expectation(one_take, 0.8) == "Not estimated, as that takes two recordings of a word."


def test_how_often_own_words_are_right_is_said_in_one_way():
    found = {"n": 8, "by": "takes", "right": 1.0, "detected": 0.75, "accepted": 0.002}
    said = "100% right among the words, 75% detected and 0.2% of other words taken for one (8 clips, takes left out)"
    assert estimate(found) == said
    assert estimate(found | {"n": 1}).endswith("(1 clip, takes left out)")
    assert estimate(found | {"n": 0, "right": None}) == "not estimated, as that takes two recordings of a word"


def test_no_alarm_at_all_is_fewer_than_one_and_no_curve_names_the_command():
    none = {"hours": 20, "curve": [[0.5, 0.0, 0.1], [0.9, 0.0, 0.2]]}
    assert "fewer than 0.05 false alarms an hour, 15.0%" in expectation({"spotting": none}, 0.7)
    for metadata in ({}, {"spotting": {"threshold": 0.7}}):
        assert "'kwspot eval RUN --long-audio --split validation'" in expectation(metadata, 0.7)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, "for single clips"),
        ({"spotting": {"threshold": 0.7}}, "for single clips"),
        ({"spotting": READ}, "for long sound: 4 false alarms an hour of people reading aloud"),
        ({"spotting": MEASURED}, "for single clips"),
        (ENROLLED, "for long sound: 4 false alarms an hour of other people's speech"),
        (
            {"spotting": {"threshold": 0.7, "target_per_hour": 1.0, "curve": []}, "enrollment": {}},
            "for long sound: 1 false alarm an hour of other people's speech",
        ),
    ],
)
def test_a_purpose_names_the_false_alarms_at_the_models_own_threshold(metadata, said):
    assert purpose(metadata) == said


def test_bundled_models_say_what_they_are_for():
    assert purpose(Spotter.load("keywords10").metadata) == "for single clips"
    assert purpose(Spotter.load("keywords10_long").metadata).startswith("for long sound: 2.9 false alarms an hour")
