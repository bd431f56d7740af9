"""The registry: `experiments.yaml` -> frozen, strict settings of one experiment.

`defaults:` holds the study's own set-up once; an experiment says only what differs from it, or from the experiment
that it is `like`, and why. A registry of your own extends the packaged one: its experiments come first, may be `like`
packaged ones, and replace those of the same name; its defaults lie over the packaged ones, for its own experiments
only. `extends: none` leaves the packaged ones out. All problems of a file are named at once. The file is read as
YAML 1.2: `yes`, `no`, `on`, `off` and `1:30` are words, `1e-3` is a number, and no key comes twice.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
import os
from pathlib import Path
import re
from typing import Any

from pydantic import ValidationError
import yaml

from kwspot.errors import ConfigError, IntegrityError, MissingError
from kwspot.experiments.settings import Experiment, problems_of
from kwspot.files import read_bounded
from kwspot.names import SURROGATE

REGISTRY_NAME = "experiments.yaml"
KNOWN = ("extends", "defaults", "experiments")
PACKAGED, NONE = "packaged", "none"  # what a registry can extend
MOST_BYTES, MOST_NODES = 2**20, 100_000  # of a registry: the packaged one has 15 kB


class _Yaml12Loader(yaml.SafeLoader):
    """PyYAML reads YAML 1.1, where `no` is a boolean and `1e-3` a string; this loader reads the 1.2 core schema."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Read an integer: `010` is ten, `1:30` is none."""
        text = self.construct_scalar(node)
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


_Yaml12Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":int", ":float"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml12Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)
_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _Yaml12Loader.construct_yaml_int)


def read_yaml(text: str, where: str) -> Any:
    """Parse YAML 1.2 text; ConfigError names the line."""
    try:
        loader = _Yaml12Loader(text)  # a SafeLoader
        node = loader.get_single_node()
        if node is not None and _size(node, {}) > MOST_NODES:
            raise ConfigError(f"{where}: its aliases come to more than {MOST_NODES:,} values; write less of them")
        return None if node is None else loader.construct_document(node)
    except RecursionError as error:
        raise ConfigError(f"{where}: nested too deeply, or an alias within itself") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date of no calendar, a number of 5,000 digits
        raise ConfigError(f"{where}: {' '.join(str(error).split())}") from error


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values of a node with its aliases written out; each is counted once, however often it is used."""
    if isinstance(node, yaml.ScalarNode) and SURROGATE.search(node.value):
        raise yaml.constructor.ConstructorError(None, None, "half a character", node.start_mark)
    if id(node) not in known:
        if isinstance(node, yaml.MappingNode):
            _require_once([key for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        below = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [part for each in below for part in (each if isinstance(each, tuple) else (each,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def _require_once(keys: Sequence[yaml.ScalarNode]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"'{key.value}' twice; keep one of them", key.start_mark
            )
        seen.add(key.value)


def _content(path: Path) -> Any:
    """Read a YAML file; ConfigError if it is none, or none of this size."""
    try:
        return read_yaml(read_bounded(path, MOST_BYTES).decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8, byte {error.start}; save it as UTF-8") from error
    except IntegrityError as error:
        raise ConfigError(f"{error}; a registry is not as long") from error


def find_registry(given: Path | None = None) -> Path:
    """Find the registry: given > $KWSPOT_REGISTRY > ./experiments.yaml > the packaged one."""
    for path in (given, Path(e) if (e := os.environ.get("KWSPOT_REGISTRY")) else None):
        if path is not None:
            if not path.is_file():
                raise MissingError(f"{path}: no such registry; write it or leave --registry out for the packaged one")
            return path
    beside = Path(REGISTRY_NAME)
    return beside if beside.is_file() else packaged_registry()


def packaged_registry() -> Path:
    """Return the registry that comes with kwspot: in the wheel, else in the source checkout."""
    packaged = Path(__file__).parents[1] / REGISTRY_NAME
    return packaged if packaged.is_file() else packaged.parents[1] / REGISTRY_NAME


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `above` over `below`, mapping by mapping."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(under, value) if both else value  # type: ignore[arg-type]
    return merged


def flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Write nested settings as `section.key: value`."""
    items: dict[str, Any] = {}
    for key, value in settings.items():
        items |= flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return items


def read_override(text: str) -> dict[str, Any]:
    """Read one `-o section.key=value` into nested mappings."""
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"-o {text}: write it as section.key=value, for example -o train.epochs=3")
    nested: Any = read_yaml(value, f"-o {text}")
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return nested


def _resolve(name: str, settings: Mapping[str, Any]) -> tuple[Experiment | None, list[str]]:
    """Validate the merged settings of one experiment; return it, or what is wrong with it."""
    if "name" in settings:
        return None, [f"{name}.name: unknown; an experiment is named by its key, '{name}:'"]
    try:
        return Experiment(name=name, **{str(key): value for key, value in settings.items()}), []
    except ValidationError as error:
        return None, list(problems_of(error, name))


def _read_file(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any], bool]:
    """Read a file: its experiments as they are written, its defaults, and whether it extends the packaged registry."""
    content = _content(path)
    if not isinstance(content, dict) or not isinstance(content.get("experiments"), dict):
        raise ConfigError(f"{path}: needs a mapping 'experiments:' of named experiments")
    if strange := [str(key) for key in content if key not in KNOWN]:
        raise ConfigError(f"{path}: {', '.join(strange)}: unknown; known: {', '.join(KNOWN)}")
    if (extends := content.get("extends", PACKAGED)) not in (PACKAGED, NONE):
        raise ConfigError(f"{path}: extends: {extends}: write {PACKAGED} or {NONE}")
    if not isinstance(content.get("defaults") or {}, Mapping):
        raise ConfigError(f"{path}: defaults: needs a mapping of settings")
    experiments = {str(name): given or {} for name, given in content["experiments"].items()}
    if flat := [name for name, given in experiments.items() if not isinstance(given, Mapping)]:
        raise ConfigError(f"{path}: {', '.join(flat)}: needs a mapping of settings, with a reason as 'why:'")
    extending = extends == PACKAGED and not path.samefile(packaged_registry())
    return experiments, content.get("defaults") or {}, extending


def _read_registry(path: Path) -> dict[str, dict[str, Any]]:
    """Read the settings of every experiment, laid over the defaults and not yet validated; the file's own first."""
    own, defaults, extending = _read_file(path)
    below, defaults_below, _ = _read_file(packaged_registry()) if extending else ({}, {}, False)
    settings = {name: _laid_over(name, below | own, _merge(defaults_below, defaults), path) for name in own}
    return settings | {name: _laid_over(name, below, defaults_below, path) for name in below if name not in own}


def own_names(path: Path | None = None) -> list[str]:
    """Return the names of the experiments that a registry states itself, without those that it extends."""
    return list(_read_file(find_registry(path))[0])


def _laid_over(
    name: str, experiments: Mapping[str, Mapping[str, Any]], defaults: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    """Lay an experiment over the one it is `like`, or over the defaults; its `why` is its own."""
    chain = [name]
    while (parent := experiments[chain[-1]].get("like")) is not None:
        if not isinstance(parent, str) or parent not in experiments or parent in chain:
            wrong = "goes round in a circle" if parent in chain else f"no experiment '{parent}'"
            raise ConfigError(
                f"{path}: {chain[-1]}.like: {wrong}; name another experiment of this file or a packaged one"
            )
        chain.append(parent)
    settings = dict(defaults)
    for one in reversed(chain):
        given = experiments[one]
        left_out = ("like",) if one == name else ("like", "why")
        settings = _merge(settings, {key: value for key, value in given.items() if key not in left_out})
    return settings


def load_registry(path: Path | None = None) -> dict[str, Experiment]:
    """Read every experiment of a registry, resolved; ConfigError lists every problem found."""
    path = find_registry(path)
    resolved = {name: _resolve(name, settings) for name, settings in _read_registry(path).items()}
    if problems := [problem for _, found in resolved.values() for problem in found]:
        raise ConfigError("\n  ".join([f"{path}: {len(problems)} problem(s)", *problems]))
    return {name: experiment for name, (experiment, _) in resolved.items() if experiment}


def load_defaults(path: Path | None = None) -> Experiment:
    """Read the defaults of a registry as an experiment, to say what an experiment changes."""
    path = find_registry(path)
    _, own, extending = _read_file(path)
    below = _read_file(packaged_registry())[1] if extending else {}
    defaults, problems = _resolve("defaults", {"why": "defaults", **_merge(below, own)})
    if defaults is None:
        raise ConfigError("\n  ".join([f"{path}: {len(problems)} problem(s)", *problems]))
    return defaults


def load_experiment(name: str, path: Path | None = None, overrides: Sequence[str] = ()) -> Experiment:
    """Read one experiment by name, with `section.key=value` overrides laid over it."""
    path = find_registry(path)
    load_registry(path)  # a registry with a problem anywhere is not used
    registry = _read_registry(path)
    if name not in registry:
        near = get_close_matches(name, registry, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(registry)}"
        raise ConfigError(f"{path}: no experiment '{name}'; {hint}")
    settings = registry[name]
    for override in overrides:
        settings = _merge(settings, read_override(override))
    experiment, problems = _resolve(name, settings)
    if experiment is None:
        raise ConfigError("\n  ".join(problems))
    return experiment
