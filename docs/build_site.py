"""Build the site of the documents: `python -m docs.build_site`, part of `make docs`.

The documents lie where readers of the repository look for them: README.md, CONTRIBUTING.md and data_processing.md at
the top, model cards beside their models, the rest in docs/. Here they are laid out in one folder, their links changed
to match, and built with Zensical, whose strict mode refuses a link or an anchor that leads nowhere.
"""

from pathlib import Path
import posixpath
import re
import shutil
import subprocess
import sys

ROOT = Path(__file__).parents[1]
LAID_OUT = ROOT / "build" / "docs"  # as zensical.toml has it
STYLE = ROOT / "docs" / "site.css"
PICTURES = "docs/plots/"
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "data_processing.md": "data_processing.md",
    "benchmarks/enrollment/enrolled.md": "enrolled-benchmark.md",
    "benchmarks/enrollment/phrases.md": "phrases-benchmark.md",
    "benchmarks/enrollment/seconds.md": "enroll-benchmark.md",
    "benchmarks/features/featurize.md": "featurize-benchmark.md",
    "benchmarks/growth.md": "growth-benchmark.md",
    "benchmarks/inference/hop.md": "stream-benchmark.md",
    "benchmarks/inference/latency.md": "latency-benchmark.md",
    "benchmarks/inference/spot.md": "spot-benchmark.md",
    "benchmarks/inference/start.md": "start-benchmark.md",
    "benchmarks/inference/warm.md": "predict-benchmark.md",
    "benchmarks/models/cells.md": "layers-benchmark.md",
    "benchmarks/training/epoch.md": "epoch-benchmark.md",
    "benchmarks/enrollment/own_words.md": "own-words-benchmark.md",
    "kwspot/inference/bundled/encoder.md": "encoder.md",
    "kwspot/inference/bundled/keywords10.md": "keywords10.md",
    "kwspot/inference/bundled/keywords10_long.md": "keywords10_long.md",
    "kwspot/inference/bundled/keywords10_nano.md": "keywords10_nano.md",
}
LINK = re.compile(r"(\]\()([^)\s:#]+)(#[^)\s]*)?(\))")  # within the repository: no colon, as in https:


def pages() -> dict[str, str]:
    """Return every document by its path in the repository, with its path in the site."""
    own = {f"docs/{path.name}": path.name for path in sorted((ROOT / "docs").glob("*.md"))}
    return ELSEWHERE | own


def for_site(document: str, text: str) -> str:
    """Change the links of a document at a path of the repository to those of the site."""
    places = pages()

    def changed(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(document), match[2]))
        place = places.get(target, target.removeprefix("docs/"))
        return f"{match[1]}{place}{match[3] or ''}{match[4]}"

    return LINK.sub(changed, text)


def lay_out(folder: Path = LAID_OUT) -> None:
    """Write all pages and the pictures they show into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(STYLE, folder)
    for document, place in pages().items():
        text = (ROOT / document).read_text("utf-8")
        (folder / place).write_text(for_site(document, text), "utf-8")
        for shown in LINK.findall(for_site(document, text)):
            if shown[1].startswith("plots/"):
                (folder / shown[1]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / "docs" / shown[1], folder / shown[1])


def main() -> None:
    """Lay the documents out and build the site; exit with the builder's code."""
    lay_out()
    sys.exit(subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=ROOT).returncode)


if __name__ == "__main__":
    main()
