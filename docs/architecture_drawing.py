"""The packages of kwspot as an SVG: a box each on its level, an arrow to every package it imports.

Of the arrows only those that no other path implies are drawn. Levels and imports are those that
tests/test_architecture.py reads from the source, so the drawing cannot show another order than the tested one.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from kwspot.reports.style import INK, PAPER
from tests.test_architecture import FILES, LEVELS, all_imports, kwspot_imports, package_of

WIDTH, BOX_WIDTH, BOX_HEIGHT, ROW_HEIGHT, MARGIN = 720, 102, 34, 82, 24  # px
LANE_WIDTH, GAP = 26, 16  # px: room for an arrow that passes a level, and between neighbours
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8A8F98"
DARK = f'@media (prefers-color-scheme: dark) {{rect[fill="white"] {{fill: {PAPER}}} text {{fill: {INK}}}}}'
FONT = "ui-sans-serif, system-ui, sans-serif"
Arrow = tuple[str, ...]  # package, a lane on every level between, imported package


def imports_between_packages() -> dict[str, set[str]]:
    """Return for every package the packages that it imports."""
    found: dict[str, set[str]] = {package_of(name): set() for name in FILES}
    for name, path in FILES.items():
        found[package_of(name)] |= {package_of(other) for other in kwspot_imports(path)} - {package_of(name)}
    return found


def with_torch() -> set[str]:
    """Return the packages of which a module imports torch."""
    return {package_of(name) for name, path in FILES.items() if "torch" in all_imports(path)}


def below(package: str, imports: Mapping[str, set[str]]) -> set[str]:
    """Return all packages that a package reaches through its imports."""
    direct = imports[package]
    return direct.union(*(below(other, imports) for other in direct))


def direct_imports(imports: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """List (package, imported) without those that a path through another package implies."""
    return sorted(
        (package, imported)
        for package, direct in imports.items()
        for imported in direct
        if not any(imported in below(other, imports) for other in direct - {imported})
    )


def laid_out(imports: Mapping[str, set[str]]) -> tuple[list[list[str]], list[Arrow]]:
    """Return the levels from the top down, with lanes for arrows that pass them, and the arrows through the lanes."""
    levels = [line.split() for line in reversed(LEVELS.strip().splitlines())]
    depth = {name: i for i, row in enumerate(levels) for name in row}
    arrows: list[Arrow] = []
    for package, imported in direct_imports(imports):
        lanes = [f"{package} {imported} {i}" for i in range(depth[package] + 1, depth[imported])]
        for i, lane in enumerate(lanes, depth[package] + 1):
            levels[i].append(lane)
        arrows.append((package, *lanes, imported))
    links = [link for arrow in arrows for link in pairwise(arrow)]
    for sweep in range(24):  # of the barycentre heuristic, down and up in turns; settled well before
        for row in levels if sweep % 2 == 0 else reversed(levels):
            x = places(levels)
            row.sort(key=lambda name: _barycentre(name, links, x))
    return levels, arrows


def places(levels: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return the x of every box and lane: each level is centred."""
    x = {}
    for row in levels:
        widths = [LANE_WIDTH if " " in name else BOX_WIDTH for name in row]
        left = (WIDTH - sum(widths) - GAP * (len(row) - 1)) / 2
        for name, width in zip(row, widths, strict=True):
            x[name] = left + width / 2
            left += width + GAP
    return x


def _barycentre(name: str, links: Iterable[tuple[str, str]], x: Mapping[str, float]) -> float:
    neighbours = [x[b if a == name else a] for a, b in links if name in (a, b)]
    return sum(neighbours) / len(neighbours) if neighbours else x[name]


def svg() -> str:
    """Draw the packages; the same source gives the same text."""
    levels, arrows = laid_out(imports_between_packages())
    x, heavy = places(levels), with_torch()
    y = {name: MARGIN + i * ROW_HEIGHT + BOX_HEIGHT / 2 for i, row in enumerate(levels) for name in row}
    height = 2 * MARGIN + ROW_HEIGHT * (len(levels) - 1) + BOX_HEIGHT + 30
    boxes = [_box(name, x[name], y[name], ORANGE if name in heavy else BLUE) for name in sorted(x) if " " not in name]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="{FONT}">',
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0 0 8 4 0 8z" fill="{GREY}"/></marker></defs>',
            f"<style>{DARK}</style>",
            f'<rect width="{WIDTH}" height="{height}" rx="8" fill="white"/>',
            *(_arrow([(x[name], y[name]) for name in arrow]) for arrow in arrows),
            *boxes,
            _key(height - 22),
            "</svg>\n",
        ]
    )


def _arrow(points: Sequence[tuple[float, float]]) -> str:
    half = BOX_HEIGHT / 2
    stops = [(px, py - half, py + half) for px, py in points]  # an arrow crosses the level of a lane upright
    path = f"M{stops[0][0]:.0f} {stops[0][2]:.0f}"
    for (x1, _, y1), (x2, y2, bottom) in pairwise(stops):
        middle = (y1 + y2) / 2
        path += f"C{x1:.0f} {middle:.0f} {x2:.0f} {middle:.0f} {x2:.0f} {y2:.0f}"
        path += "" if (x2, y2, bottom) == stops[-1] else f"V{bottom:.0f}"
    return f'<path d="{path}" fill="none" stroke="{GREY}" stroke-width="1.2" marker-end="url(#head)"/>'


def _box(name: str, x: float, y: float, colour: str) -> str:
    return (
        f'<rect x="{x - BOX_WIDTH / 2:.0f}" y="{y - BOX_HEIGHT / 2:.0f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" '
        f'rx="6" fill="white" stroke="{colour}" stroke-width="1.8"/>'
        f'<text x="{x:.0f}" y="{y + 5:.0f}" font-size="15" text-anchor="middle" fill="#1F2328">{name}</text>'
    )


def _key(y: float) -> str:
    def entry(x: int, colour: str, text: str) -> str:
        return (
            f'<rect x="{x}" y="{y}" width="22" height="12" rx="3" fill="white" stroke="{colour}" stroke-width="1.8"/>'
            f'<text x="{x + 30}" y="{y + 11}" font-size="13" fill="#57606A">{text}</text>'
        )

    return entry(MARGIN, BLUE, "no torch") + entry(MARGIN + 130, ORANGE, "some modules need torch")
