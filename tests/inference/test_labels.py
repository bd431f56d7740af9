"""A TextGrid that Praat reads: intervals from 0 to the end without a gap, every word in its place."""

import re

from kwspot.inference.detector import Event
from kwspot.inference.labels import subtitle, textgrid


def read(text):
    """Return the times and texts of the intervals, as Praat's own reader takes them: in order, numbers and strings."""
    rows = re.findall(r'intervals \[\d+\]:\s+xmin = (\S+)\s+xmax = (\S+)\s+text = "((?:[^"]|"")*)"', text)
    return [(float(start), float(end), said.replace('""', '"')) for start, end, said in rows]


def test_words_and_the_quiet_between_them_fill_the_whole():
    text = textgrid([Event("yes", 0.5, 1.0, 0.9), Event('a "b"', 1.0, 1.5, 0.9), Event("no", 3.0, 4.2, 0.9)], 4.0)
    assert read(text) == [
        (0, 0.5, ""), (0.5, 1, "yes"), (1, 1.5, 'a "b"'), (1.5, 3, ""), (3, 4, "no")
    ]  # fmt: skip
    assert "intervals: size = 5" in text
    assert text.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n')


def test_a_recording_without_words_is_one_interval():
    assert read(textgrid([], 2.5)) == [(0, 2.5, "")]
    assert read(textgrid([Event("yes", 0.0, 2.5, 0.9)], 2.5)) == [(0, 2.5, "yes")]


def test_subtitles_count_hours_and_end_in_an_empty_line():
    assert subtitle(3, Event("yes", 3725.0406, 3725.9996, 0.9)) == "3\n01:02:05,041 --> 01:02:06,000\nyes\n"
