"""Events of one recording -> subtitles, or a TextGrid with one tier of intervals for Praat, and ELAN, which imports it.

Between the words lie intervals without text, from 0 to the end, as Praat wants them; its format is described in
https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html
"""

from collections.abc import Iterator, Sequence

from kwspot.inference.detector import Event

TIER = "keywords"


def textgrid(events: Sequence[Event], seconds: float) -> str:
    """Write the events of a recording of so many seconds, in order and not overlapping, as a TextGrid."""
    intervals = list(_intervals(events, seconds))
    lines = [
        'File type = "ooTextFile"', 'Object class = "TextGrid"', "",
        "xmin = 0", f"xmax = {seconds:.6f}", "tiers? <exists>", "size = 1", "item []:",
        "    item [1]:", '        class = "IntervalTier"', f'        name = "{TIER}"',
        "        xmin = 0", f"        xmax = {seconds:.6f}", f"        intervals: size = {len(intervals)}",
    ]  # fmt: skip
    for i, (start_s, end_s, text) in enumerate(intervals, 1):
        quoted = text.replace('"', '""')
        lines += [
            f"        intervals [{i}]:", f"            xmin = {start_s:.6f}", f"            xmax = {end_s:.6f}",
            f'            text = "{quoted}"',
        ]  # fmt: skip
    return "\n".join(lines)


def subtitle(number: int, event: Event) -> str:
    """Write an event as a subtitle (SRT), with an empty line behind; the first of a recording is number 1."""
    return f"{number}\n{_clock(event.start_s)} --> {_clock(event.end_s)}\n{event.word}\n"


def _clock(seconds: float) -> str:
    ms = round(1000 * seconds)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"


def _intervals(events: Sequence[Event], seconds: float) -> Iterator[tuple[float, float, str]]:
    at = 0.0
    for event in events:
        start_s, end_s = max(event.start_s, at), min(event.end_s, seconds)
        if end_s <= start_s:
            continue
        if start_s > at:
            yield at, start_s, ""
        yield start_s, end_s, event.word
        at = end_s
    if at < seconds:
        yield at, seconds, ""
