"""Links of the documents lead somewhere, in the repository and in the site, and the site needs no other server."""

import posixpath
import re
import shutil
import subprocess
import sys

import pytest

from docs.build_site import LINK, PICTURES, for_site, lay_out, pages
from tests.documents import DOCUMENTS, ROOT, without_code

HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def anchor(heading):
    """Name a heading as GitHub and Zensical do."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def links(document):
    """Return the links of a document to others, as (path in the repository, anchor or None)."""
    found = LINK.findall(without_code(DOCUMENTS[document])) + [
        ("", document.rpartition("/")[2], name, "")
        for name in re.findall(r"\]\((#[^)]+)\)", without_code(DOCUMENTS[document]))
    ]
    folder = posixpath.dirname(document)
    return [(posixpath.normpath(posixpath.join(folder, path)), name.lstrip("#")) for _, path, name, _ in found]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    for path, name in links(document):
        assert path in pages() or path.startswith(PICTURES), f"{path} is not part of the site"
        assert (ROOT / path).is_file(), path
        if name:
            assert name in map(anchor, HEADING.findall(without_code(DOCUMENTS[path]))), f"{path}#{name}"


def test_links_change_with_the_place():
    assert for_site("README.md", "[a](docs/log.md#x) ![b](docs/plots/c.svg)") == "[a](log.md#x) ![b](plots/c.svg)"
    assert for_site("docs/log.md", "[a](../README.md) [b](https://x.org) [c](#d)") == (
        "[a](index.md) [b](https://x.org) [c](#d)"
    )


def test_every_page_is_in_the_navigation():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11

    def places(entries):
        for entry in entries:
            (value,) = entry.values()
            yield from [value] if isinstance(value, str) else places(value)

    navigation = list(places(tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))["project"]["nav"]))
    assert sorted(navigation) == sorted(pages().values())


def test_every_document_is_a_page():
    tracked = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    documents = {name for name in tracked.stdout.split() if not name.startswith("space/")}  # of demos of their own
    assert documents <= set(pages())


@pytest.mark.slow
def test_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("zensical", reason="Zensical needs Python 3.11")
    lay_out(tmp_path / "build" / "docs")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    built = list((tmp_path / "site").rglob("*.html"))
    assert len(built) >= len(pages())
    for page in built:
        text = page.read_text("utf-8")
        assert not re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=[\"']?(?:https?:)?//[^>]*>", text), page
        assert not re.findall(r"<link[^>]*rel=[\"']?(?:stylesheet|preconnect)[^>]*(?:https?:)?//[^>]*>", text), page
