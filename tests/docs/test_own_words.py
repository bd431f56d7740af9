"""What `kwspot enroll` and docs/enroll.md say of own words in general is what was measured."""

import re

import pytest

from kwspot.commands.enroll import DETECTED, DETECTED_ALONE
from kwspot.enrollment.operating import ACCEPTED, ACCEPTED_SPOKEN
from tests.documents import DOCUMENTS

PAGE = DOCUMENTS["benchmarks/enrollment/enrolled.md"]
# By row: right, detected and expected right of ten words; detected and others taken for one of five; per cent.
ROWS = {
    name: [float(mean) for mean in re.findall(r"([\d.]+) ± ", figures)]
    for name, figures in re.findall(r"^\| (\d.*?|text.*?) \| (.*) \|$", PAGE, re.MULTILINE)
}
SHARES = {"about half": 50, "about a third": 100 / 3}  # per cent


def test_rows_are_read_whole():
    assert len(ROWS) == PAGE.count("\n| ") - 1  # the heading
    assert all(len(figures) == 5 for figures in ROWS.values())


@pytest.mark.parametrize(
    ("share", "row"), [(DETECTED, "1 speaker × 5"), (DETECTED_ALONE, "1 speaker × 5, recordings alone")]
)
def test_the_caution_about_one_voice_says_what_was_measured(share, row):
    assert ROWS[row][1] == pytest.approx(SHARES[share], abs=5)


def test_the_page_about_own_words_says_what_was_measured():
    text = " ".join(DOCUMENTS["docs/enroll.md"].split())
    taken = [figures[-1] for figures in ROWS.values()]
    assert f" {min(taken):.0f} to {max(taken):.0f} % in [our tests](../benchmarks/enrollment/enrolled.md)" in text
    assert f"in our tests {DETECTED} of their takes were detected" in text
    assert (
        f"({100 * ACCEPTED:g} % of them may pass, {100 * ACCEPTED_SPOKEN:g} % where all words come from text)" in text
    )
