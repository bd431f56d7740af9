"""Reference pages from the program itself: every command, every package, every public class."""

import ast
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
import inspect
from pathlib import Path
from typing import Any

from typer.main import get_command

import kwspot
from kwspot.cli import app
from tests.test_architecture import LEVELS, PACKAGE


def table(head: Sequence[str], lines: Sequence[Sequence[str]], n_left: int) -> str:
    """Write a markdown table whose first `n_left` columns are flush left, the others flush right."""
    rule = ["--" if i < n_left else "--:" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


def commands() -> str:
    """Return every command with its help, examples, arguments and options."""
    group: Any = get_command(app)
    return "\n\n".join(part for name, command in group.commands.items() for part in _help(name, command))


def _help(name: str, command: Any) -> Iterator[str]:
    text, _, examples = inspect.cleandoc(command.help).partition("Examples:")
    yield f"{'##' if ' ' not in name else '###'} kwspot {name}"
    yield text.strip().replace("\\[", "[")
    yield "```\n" + "\n".join(line.strip() for line in examples.splitlines() if line.strip()) + "\n```"
    rows = [_parameter(parameter) for parameter in command.params if parameter.name != "help"]
    if rows:
        yield table(["argument or option", "meaning"], rows, n_left=2)
    for below, subcommand in getattr(command, "commands", {}).items():
        yield from _help(f"{name} {below}", subcommand)


def _parameter(parameter: Any) -> list[str]:
    is_argument = parameter.param_type_name == "argument"
    name = parameter.metavar if is_argument else ", ".join([*parameter.opts, *parameter.secondary_opts])
    default, text = parameter.default, parameter.help.replace("|", "\\|")
    if isinstance(default, Enum):
        default = default.value
    if isinstance(default, (int, float, str, Path)) and not isinstance(default, bool):
        text += f" Default: {default}."
    return [f"`{name}`", text]


def packages() -> str:
    """Return the packages and modules of each level, from the top down, with the first line of what they say."""
    lines = []
    for level in reversed(LEVELS.strip().splitlines()):
        for name in level.split():
            path = PACKAGE / name
            source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            lines.append([f"`{name}`", inspect.cleandoc(_docstring(source)).splitlines()[0]])
    return table(["package", "its idea"], lines, n_left=2)


def _docstring(source: Path) -> str:
    return ast.get_docstring(ast.parse(source.read_text("utf-8"))) or ""


def api() -> str:
    """Return what `kwspot` exports: signatures as the source has them, and docstrings."""
    exported = [(name, getattr(kwspot, name)) for name in kwspot.__all__ if not name.startswith("_")]
    functions = [part for _, one in exported if not isinstance(one, type) for part in _function(one)]
    classes = [part for _, one in exported if isinstance(one, type) for part in _class(one)]
    return "\n\n".join([*functions, *classes])


def _function(exported: Callable[..., Any]) -> Iterator[str]:
    (tree,) = ast.parse(inspect.getsource(exported)).body
    assert isinstance(tree, ast.FunctionDef)
    yield f"## {tree.name}"
    yield _code(_called(tree.name, tree))
    yield ast.get_docstring(tree) or ""


def _class(exported: type) -> Iterator[str]:
    """Write a class: its constructor, then its public properties and methods."""
    (tree,) = ast.parse(inspect.getsource(exported)).body
    assert isinstance(tree, ast.ClassDef)
    members = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    fields = [ast.unparse(node) for node in tree.body if isinstance(node, ast.AnnAssign)]
    yield f"## {tree.name}"
    yield _code(
        _called(tree.name, members["__init__"]) if "__init__" in members else f"{tree.name}({', '.join(fields)})"
    )
    yield ast.get_docstring(tree) or ""
    for name, node in members.items():
        if not name.startswith("_"):
            is_property = "property" in [ast.unparse(decorator) for decorator in node.decorator_list]
            yield f"### {tree.name}.{name}"
            yield _code(f"{name}: {ast.unparse(node.returns)}" if is_property and node.returns else _called(name, node))
            yield ast.get_docstring(node) or ""


def _called(name: str, node: ast.FunctionDef) -> str:
    """Write a signature without `self` or `cls`, an argument a line if it is long."""
    arguments = [text for text in _arguments(node) if text not in ("self", "cls")]
    returns = f" -> {ast.unparse(node.returns)}".replace("'", "") if node.returns and name == node.name else ""
    line = f"{name}({', '.join(arguments)}){returns}"
    return line if len(line) <= 88 else f"{name}(\n    " + ",\n    ".join(arguments) + f",\n){returns}"


def _arguments(node: ast.FunctionDef) -> Iterator[str]:
    positional, named = node.args.args, node.args.kwonlyargs
    defaults = [None] * (len(positional) - len(node.args.defaults)) + node.args.defaults + node.args.kw_defaults
    for i, (argument, default) in enumerate(zip([*positional, *named], defaults, strict=True)):
        if named and i == len(positional):
            yield "*"
        yield ast.unparse(argument) + (f" = {ast.unparse(default)}" if default else "")


def _code(text: str) -> str:
    return f"```python\n{text}\n```"
