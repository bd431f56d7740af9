"""Generated blocks of a markdown file: the text between the lines `<!-- name: … -->` and `<!-- /name -->`."""

from pathlib import Path
import re

from kwspot.errors import ConfigError, MissingError
from kwspot.files import read_text, write_text


def _find(path: Path, name: str) -> tuple[str, re.Match[str]]:
    markers = f"'<!-- {name}: … -->' and '<!-- /{name} -->'"
    if not path.is_file():
        raise MissingError(f"{path}: no such file; write it, with the lines {markers}")
    text = read_text(path)
    pattern = rf"(<!-- {re.escape(name)}:[^\n]*?-->\n)(.*?)(<!-- /{re.escape(name)} -->)"
    found = list(re.finditer(pattern, text, re.DOTALL))
    if len(found) != 1:
        raise ConfigError(f"{path}: needs one block between the lines {markers}, has {len(found)}")
    return text, found[0]


def read_block(path: Path, name: str = "results") -> str:
    """Return the text of a block; MissingError without the file, ConfigError unless it has one such block."""
    return _find(path, name)[1][2]


def write_block(path: Path, text: str, name: str = "results") -> None:
    """Replace the text of a block and nothing else; the file changes whole or not at all."""
    whole, found = _find(path, name)
    write_text(path, f"{whole[: found.start(2)]}{text.rstrip()}\n{whole[found.end(2) :]}")
