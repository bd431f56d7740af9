"""The look of every figure: colours, line styles, and a figure that is written whole, as SVG or PNG by its suffix.

The same drawing gives the same bytes: no date, and ids salted with a constant. Matplotlib is imported late and
without pyplot, so nothing here has a state or needs a display. Colours: Okabe and Ito's, safe for colour-blind
eyes, without the yellow that white paper swallows; beyond seven, the line style tells experiments apart. An SVG turns
dark where the page that shows it is dark: paper, ink and grid, and the colours that a dark ground swallows.
"""

from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from kwspot.errors import ConfigError
from kwspot.files import require_file_to_be, written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

os.environ["MPLBACKEND"] = "agg"  # needs no display; matplotlib cannot be imported with one that is not there
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FORMS = {".svg": {"Date": None, "Creator": "kwspot"}, ".png": {"Software": "kwspot"}}  # with what they say of it
PNG_DPI = 150
MOST_LINES = 6  # in a panel: more cannot be followed
STYLES = ("-", "--", ":", "-.")
# Of pages, in the light and in the dark; web/static/theme.css, which stands alone, has the same (a test compares).
PAGE = {
    "paper": ("#f6f4ef", "#10161c"),
    "ink": ("#17212b", "#e9eef2"),
    "line": ("#d9d4c7", "#2c3a46"),
    "accent": ("#0b6e6e", "#5fd0c5"),
}
PAPER, INK, LINE = (PAGE[name][1] for name in ("paper", "ink", "line"))  # in the dark
# What matplotlib writes stands in style attributes, or is the black that it leaves out.
DARK = f"""
@media (prefers-color-scheme: dark) {{
  path[style*="fill: #ffffff"] {{fill: {PAPER} !important}}
  [style*="stroke: #000000"] {{stroke: {INK} !important}}
  [style*="stroke: #dddddd"] {{stroke: {LINE} !important}}
  [style*="stroke: #0072b2"] {{stroke: #4aa8e0 !important}}
  [style*="fill: #0072b2"] {{fill: #4aa8e0 !important}}
  [style*="stroke: #440154"] {{stroke: #9a6fb0 !important}}
  text:not([style*="fill:"]) {{fill: {INK}}}
}}
"""
STYLE_END = b"</style>"
RC = {
    "svg.hashsalt": "kwspot",
    "svg.fonttype": "none",  # text stays text: small, searchable
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


@contextmanager
def drawing(path: Path, width: float, height: float, *, fitted: bool) -> Iterator["tuple[Figure, Axes]"]:
    """Yield an empty figure (inches) of our style; write it to `path` at the end, whole or not at all.

    `fitted` fits the margins to what stands in them, which takes a second drawing.
    """
    form = check_form(path)
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context(["default", RC]):
        figure = Figure(figsize=(width, height), layout="constrained" if fitted else None)
        axes = figure.subplots()
        if not fitted:
            figure.subplots_adjust(left=0.11, right=0.97, top=0.92, bottom=0.13)
        yield figure, axes
        with written_whole(path) as partial:
            figure.savefig(drawn := BytesIO(), format=form[1:], dpi=PNG_DPI, metadata=FORMS[form])
            content = drawn.getvalue()
            if form == ".svg":
                content = content.replace(STYLE_END, DARK.encode() + STYLE_END, 1)
            partial.write_bytes(content)


def svg_source(draw: Callable[[Path], None]) -> str:
    """Return the SVG that `draw` writes as the source of an image in a page."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "figure.svg"
        draw(path)
        return f"data:image/svg+xml;base64,{b64encode(path.read_bytes()).decode()}"


def check_form(path: Path) -> str:
    """Return the suffix of a figure's file; ConfigError if no such figure can be written, OSError over a folder."""
    require_file_to_be(path)
    suffix = path.suffix.lower()
    if suffix not in FORMS:
        raise ConfigError(f"{path}: a figure is written as {' or '.join(FORMS)}; give it one of these endings")
    return suffix
