"""The documents of the repository, by their paths."""

from pathlib import Path
import re
import shlex

from docs.build_site import pages

ROOT = Path(__file__).parents[1]
DOCUMENTS = {path: (ROOT / path).read_text("utf-8") for path in pages()}


def fenced(text, language):
    """Return the contents of the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def bash_lines(text):
    """Return the commands of all ```bash blocks, without their comments."""
    lines = [line for block in fenced(text, "bash") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def without_code(text):
    """Return a document without its code blocks, in which nothing is a link or a heading."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
