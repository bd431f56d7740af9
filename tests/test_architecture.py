"""The tree tells the truth: imports point one way, every folder says its idea, and no file outgrows its own."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path
import subprocess
import sys

import pytest

from kwspot.cli import COMMANDS, NEEDS
from kwspot.extras import EXTRAS

PACKAGE = Path(__file__).parents[1] / "kwspot"
# A package may import packages of the lines above its own, and none of its own line.
LEVELS = """
    errors
    files names tasks prefetch seeding extras
    experiments audio
    signal corpus
    synthesis features models inference
    evaluation enrollment
    training export reports
    web doctor
    commands
    cli
    __main__
"""
LEVEL = {name: i for i, line in enumerate(LEVELS.strip().splitlines()) for name in line.split()}
# The half without torch: these modules, and all that they import, at once or when they run.
LIGHT = ["commands.predict", "commands.spot", "commands.listen", "commands.enroll", "commands.record",
         "commands.models", "commands.compare", "commands.doctor", "commands.experiments", "commands.runs",
         "commands.download", "commands.synthesize", "commands.ui", "enrollment.enroll", "enrollment.spoken",
         "inference.api", "inference.batch", "inference.pipeline", "reports.views", "web.live"]  # fmt: skip


def module_name(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_name(path): path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"}


def package_of(module):
    return module.split(".")[0]


def kwspot_imports(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import on line {node.lineno}"
            if package_of(node.module) == "kwspot":
                module = node.module.removeprefix("kwspot").removeprefix(".")
                names = {".".join(filter(None, [module, alias.name])) for alias in node.names} & set(FILES)
                found |= names or ({module} & set(FILES))
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("kwspot.") for a in node.names if a.name.startswith("kwspot.")}
    return found


def test_every_package_has_its_level():
    assert {package_of(name) for name in FILES} == set(LEVEL)


@pytest.mark.parametrize("name", sorted(FILES))
def test_imports_point_one_way(name):
    level = LEVEL[package_of(name)]
    others = {found for found in kwspot_imports(FILES[name]) if package_of(found) != package_of(name)}
    wrong = sorted(found for found in others if LEVEL[package_of(found)] >= level)
    assert not wrong, f"{name} may not import {wrong}"


def test_no_module_imports_itself_round_a_corner():
    list(TopologicalSorter({name: kwspot_imports(path) for name, path in FILES.items()}).static_order())


def test_few_modules_lie_outside_the_folders():
    assert len(list(PACKAGE.glob("*.py"))) <= 12


@pytest.mark.parametrize("folder", sorted(path.parent for path in PACKAGE.rglob("*/__init__.py")), ids=lambda p: p.name)
def test_folder_says_its_idea_and_nothing_else(folder):
    tree = ast.parse((folder / "__init__.py").read_text("utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


@pytest.mark.parametrize("name", sorted(FILES))
def test_file_holds_one_idea(name):
    assert len(FILES[name].read_text("utf-8").splitlines()) <= 350


@pytest.mark.parametrize(
    ("library", "module"), [("torchaudio", "features.log_mel"), ("sounddevice", "audio.microphone")]
)
def test_is_imported_in_one_module(library, module):
    assert {name for name, path in FILES.items() if library in all_imports(path)} == {module}


def test_sound_is_written_where_a_full_disk_is_an_oserror():
    assert {name for name, path in FILES.items() if "soundfile.write(" in path.read_text("utf-8")} == {"audio.reading"}


def all_imports(path):
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}  # type: ignore[misc]
    return {module.split(".")[0] for module in modules}


def reached_from(name):
    """Return a module and all that it imports, in functions too, and so on."""
    reached, waiting = set(), [name]
    while waiting:
        if (module := waiting.pop()) not in reached:
            reached.add(module)
            waiting += kwspot_imports(FILES[module])
    return reached


def optional_libraries(name):
    known = {library for extra in EXTRAS.values() for library in extra.libraries}
    return {library for module in reached_from(name) for library in all_imports(FILES[module]) & known}


@pytest.mark.parametrize("name", LIGHT)
def test_light_half_reaches_no_torch(name):
    assert not optional_libraries(name) & set(EXTRAS["train"].libraries)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_a_command_asks_for_every_library_of_an_extra_that_it_reaches(command):
    module = command.__module__.removeprefix("kwspot.")
    asked_for = set(NEEDS.get(module.removeprefix("commands."), ()))
    if module == "commands.listen":
        asked_for.add("sounddevice")  # in audio.microphone: a pipe needs none
    assert optional_libraries(module) <= asked_for


@pytest.mark.parametrize("name", LIGHT)
def test_light_half_imports_no_torch(name):
    code = f"import kwspot.{name}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=PACKAGE.parent).returncode == 0


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith(("commands", "cli"))])
def test_library_neither_prints_nor_exits(name):
    if name in ("__main__", "synthesis.engines"):  # an engine answers on stdout where it is a process of its own
        return
    calls = [node.func for node in ast.walk(ast.parse(FILES[name].read_text("utf-8"))) if isinstance(node, ast.Call)]
    names = {call.id for call in calls if isinstance(call, ast.Name)}
    assert not names & {"print", "exit", "quit", "input"}
