"""Names that come from outside, as they may be shown: files, labels, what servers answer.

Control characters move a terminal's cursor or end a line; Unicode's bidi marks turn its direction. Joiners stay: words
of some scripts need them.
"""

import re

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
SURROGATE = re.compile(r"[\ud800-\udfff]")  # half a character: bytes of a file name that are no UTF-8, or damage


def escaped(text: str) -> str:
    """Write what is unprintable in a name as in JSON, `\\u001b`."""
    return UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def is_printable(text: str) -> bool:
    """Say whether a name can be printed and stored as it is."""
    return not (UNPRINTABLE.search(text) or SURROGATE.search(text))
