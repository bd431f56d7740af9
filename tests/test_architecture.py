"""The tree tells the truth: imports point one way, and no file outgrows its idea."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kwspot"
# Each module may import only modules to its left.
ORDER = """
    errors files labels settings config runs audio archive install fetch download corpus voices acoustics negatives
    ahead synthetic features cache shards featurize frames batches augment waveforms degradations conditions metrics
    models.cells models.recurrent models.published models models.cost reproducibility parallel evaluation optimization
    tracing training experiment sweep catalog detection spotter sources prediction soundstream microphone spotting
    operators graph quantization export streaming assembly false_alarms compare paired blocks tables drawing plots
    robustness_report report robustness det views live webui doctor
    commands commands.console commands.options commands.download commands.synthesize commands.featurize
    commands.train commands.sweep commands.eval commands.compare commands.predict commands.spot commands.listen
    commands.models commands.export commands.experiments commands.runs commands.tensorboard commands.ui commands.doctor
    cli __main__
""".split()  # noqa: SIM905


def module_name(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_name(path): path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"}


def kwspot_imports(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import on line {node.lineno}"
            if node.module in ("kwspot", "kwspot.commands"):
                prefix = node.module.removeprefix("kwspot").removeprefix(".")
                names = {".".join(filter(None, [prefix, alias.name])) for alias in node.names}
                found |= names & set(FILES)
            elif node.module.startswith("kwspot."):
                found.add(node.module.removeprefix("kwspot."))
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("kwspot.") for a in node.names if a.name.startswith("kwspot.")}
    return found


def test_every_module_has_its_place():
    assert sorted(FILES) == sorted(ORDER)


@pytest.mark.parametrize("name", sorted(FILES))
def test_imports_point_one_way(name):
    later = kwspot_imports(FILES[name]) - set(ORDER[: ORDER.index(name)])
    assert not later, f"{name} may not import {sorted(later)}"


@pytest.mark.parametrize("name", sorted(FILES))
def test_file_holds_one_idea(name):
    assert len(FILES[name].read_text("utf-8").splitlines()) <= 350


@pytest.mark.parametrize(("library", "module"), [("torchaudio", "features"), ("sounddevice", "microphone")])
def test_is_imported_in_one_module(library, module):
    assert {name for name, path in FILES.items() if library in all_imports(path)} == {module}


def all_imports(path):
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    return {module.split(".")[0] for module in modules}


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith(("commands", "cli"))])
def test_library_neither_prints_nor_exits(name):
    if name in ("__main__", "voices"):  # voices answers on stdout where it is a process of its own
        return
    calls = [node.func for node in ast.walk(ast.parse(FILES[name].read_text("utf-8"))) if isinstance(node, ast.Call)]
    names = {call.id for call in calls if isinstance(call, ast.Name)}
    assert not names & {"print", "exit", "quit", "input"}
