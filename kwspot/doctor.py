"""What kwspot stands on: versions, extras, device, corpus, features, runs, space; each a finding with its repair.

Anything here may be broken, so nothing is trusted: torch and torchaudio are imported in a process of their own,
and an error becomes a finding instead of ending the examination.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
import json
import os
from pathlib import Path
import platform
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from kwspot import __version__
from kwspot.errors import IntegrityError, KwspotError, MissingError
from kwspot.extras import EXTRAS

if TYPE_CHECKING:
    from kwspot.experiments.runs import Run

OK, WARN, FAIL = "ok", "warn", "fail"
RELEASE = "2.11.0"  # of torch and torchaudio; pyproject.toml pins both
PAIR = f"pip install 'torch=={RELEASE}' 'torchaudio=={RELEASE}'"
BASE = (
    "numpy", "soundfile", "soxr", "onnx", "onnxruntime", "typer", "rich", "pyyaml", "pydantic", "filelock",
    "matplotlib",
)  # fmt: skip
CORPUS_BYTES = 6e9  # archive and recordings of Speech Commands v0.02 together
ROOM_BYTES = 2e8  # less than this is not enough to work with
PROBE = """
import json, warnings
warnings.simplefilter("ignore")
import torch, torchaudio
cuda = torch.cuda.is_available()
name = torch.cuda.get_device_name() if cuda else None
print(json.dumps({"cuda": cuda, "name": name, "built_for": torch.version.cuda, "threads": torch.get_num_threads()}))
"""


@dataclass(frozen=True)
class Finding:
    """One line of the examination; `repair` is the command that fixes it."""

    name: str
    state: str
    says: str
    repair: str | None = None


def examine(data: Path, runs_dir: Path, registry: Path | None = None) -> list[Finding]:
    """Examine the installation, a corpus folder and a folder of runs."""
    here = "" if data == Path("data") else f" --data {shlex.quote(str(data))}"
    examinations: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("python", _python),
        ("base", _base),
        ("extras", extra_findings),
        ("torch", torch_findings),
        ("voices", voice_findings),
        ("registry", lambda: _registry(registry)),
        ("corpus", lambda: corpus_findings(data, here)),
        ("features", lambda: feature_findings(data, here)),
        ("runs", lambda: run_findings(runs_dir, here, registry)),
        ("own words", lambda: enrolled_findings(runs_dir)),
        ("space", lambda: _space(data, runs_dir)),
    )
    findings = []
    for name, examination in examinations:
        try:
            findings += list(examination())
        except KwspotError as error:
            findings.append(Finding(name, FAIL, str(error)))
        except Exception as error:  # the doctor outlives every patient
            findings.append(Finding(name, FAIL, f"{type(error).__name__}: {error}"))
    return findings


def installed(distribution: str) -> str | None:
    """Return the version of an installed distribution, None if it is not there."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _python() -> Iterator[Finding]:
    says = f"{platform.python_version()} ({sys.executable}), kwspot {__version__}, {platform.platform()}"
    old = sys.version_info < (3, 10)
    yield Finding("python", FAIL if old else OK, says, "install Python 3.10 or newer" if old else None)


def probe(code: str = PROBE, timeout_s: float = 120) -> tuple[dict[str, Any] | None, str]:
    """Run code in another Python; return the JSON it printed, or None and its last words."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return None, f"no answer in {timeout_s:.0f} s"
    if done.returncode == 0:
        return dict(json.loads(done.stdout)), ""
    words = [line for line in done.stderr.splitlines() if line.strip()]
    return None, words[-1].strip() if words else f"died with code {done.returncode}"


def torch_findings() -> Iterator[Finding]:
    """Examine the pair of torch and torchaudio, which must be of one release, and the device they see.

    Only where all of [train] is installed: a torch that is here for something else may be of any release.
    """
    if _versions(EXTRAS["train"].libraries)[1]:
        return
    versions = {name: installed(name) for name in ("torch", "torchaudio")}
    told = " with ".join(f"{name} {found or 'missing'}" for name, found in versions.items())
    if any((found or "").partition("+")[0] != RELEASE for found in versions.values()):
        yield Finding("torch", FAIL, f"{told}: kwspot needs both of {RELEASE}", PAIR)
        return
    answer, trouble = probe()
    if answer is None:
        yield Finding("torch", FAIL, f"{told}: cannot be imported together: {trouble}", PAIR)
        return
    yield Finding("torch", OK, f"{told}, built for {'CUDA ' + answer['built_for'] if answer['built_for'] else 'CPU'}")
    device = f"cuda, {answer['name']}" if answer["cuda"] else "cpu"
    yield Finding("device", OK, f"{device}; {answer['threads']} threads of {os.cpu_count()} cores")


def _base() -> Iterator[Finding]:
    there, missing = _versions(BASE)
    if missing:
        yield Finding("base", FAIL, f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    else:
        yield Finding("base", OK, there)


def extra_findings() -> Iterator[Finding]:
    """Examine the extras: one that is not there is no fault, one that is there in part may be."""
    for name, extra in EXTRAS.items():
        there, missing = _versions(extra.libraries)
        install = f"pip install 'kwspot[{name}]'"
        if extra.libraries[0] in missing:
            yield Finding(name, OK, f"not installed; for {extra.purpose}: {install}")
        elif missing:
            says = f"{there}; missing for {extra.purpose}: {', '.join(missing)}"
            yield Finding(name, WARN, says, install)
        else:
            yield Finding(name, OK, there)


def voice_findings() -> Iterator[Finding]:
    """Examine the speech synthesisers, of which any is enough and none is no fault."""
    from kwspot.synthesis.engines import ENGINES
    from kwspot.synthesis.kokoro import PARTS, voices_path

    there, absent = _versions([info.distributions[0] for info in ENGINES.values()])
    purpose = "'kwspot download --synthetic' and 'kwspot synthesize'"
    if there:
        says = f"{there}{'; not installed: ' + ', '.join(absent) if absent else ''}"
        if PARTS[0] not in absent and not voices_path().exists():
            says += f"; the voices of {PARTS[0]} are fetched when they are first needed"
        yield Finding("voices", OK, says)
    else:
        yield Finding("voices", OK, f"not installed; for {purpose}: pip install 'kwspot[synth]'")


def _versions(distributions: Sequence[str]) -> tuple[str, list[str]]:
    """Return the distributions that are installed, with their versions, and the names of those that are not."""
    versions = {name: installed(name) for name in distributions}
    there = ", ".join(f"{name} {found}" for name, found in versions.items() if found)
    return there, [name for name, found in versions.items() if not found]


def _registry(path: Path | None) -> Iterator[Finding]:
    from kwspot.experiments.registry import find_registry, load_registry

    try:
        yield Finding("registry", OK, f"{find_registry(path)}: {len(load_registry(path))} experiments")
    except KwspotError as error:
        yield Finding("registry", FAIL, str(error), "mend the file, or name another with --registry")


def corpus_findings(data: Path, here: str = "") -> Iterator[Finding]:
    """Examine the recordings: are they there, and all that came with them?"""
    from kwspot.corpus import install, layout

    download = f"kwspot download{here}"
    if not data.is_dir():
        yield Finding("corpus", WARN, f"{data}: no corpus yet", download)
        return
    if install.unsettled(data):
        yield Finding("corpus", FAIL, f"{data}: an installation was cut short", download)
        return
    try:
        marker = install.read_marker(data)
        check = install.check(data) if marker else None
        found = layout.read_corpus(data)
    except MissingError:
        if layout.imported_digest(data) is None:
            yield Finding("corpus", WARN, f"{data}: no clips", download)
        else:
            yield Finding("corpus", OK, f"{data}: no recordings, but frames imported from elsewhere")
        return
    except IntegrityError as error:
        yield Finding("corpus", FAIL, str(error), download)
        return
    if check and not check.complete:
        says = f"{data}: {len(check.missing):,} files missing, {len(check.changed):,} of another size"
        yield Finding("corpus", FAIL, f"{says}, against {check.marker['name']}", download)
        return
    splits: dict[str, int] = {}
    for clip in found.clips:
        splits[clip.split] = splits.get(clip.split, 0) + 1
    clips = ", ".join(f"{splits[split]:,} {split}" for split in corpus_splits() if split in splits)
    origin = f"{marker['name']}, complete" if marker else "your own clips"
    yield Finding("corpus", OK, f"{data}: {origin}; {len(found.words)} words; clips: {clips}")


def corpus_splits() -> tuple[str, ...]:
    """Return the splits in the order in which they are told."""
    from kwspot.corpus import layout

    return layout.TRAIN, layout.VALIDATION, layout.TEST, layout.TEST12


def feature_findings(data: Path, here: str = "") -> Iterator[Finding]:
    """Examine the feature caches of a corpus: whole, and of the corpus as it now is?"""
    from kwspot.corpus.layout import STATE, corpus_fingerprint
    from kwspot.experiments.settings import FrontEnd
    from kwspot.features.cache import cache_folder, caches_of, read_cache
    from kwspot.files import PARTIAL

    featurize = f"kwspot featurize{here}"
    for partial in sorted((data / STATE).glob(f"features-*{PARTIAL}")):
        yield Finding("features", WARN, f"{partial.name}: interrupted, or being written", featurize)
    try:
        fingerprint = corpus_fingerprint(data)
    except MissingError:
        return
    folders = caches_of(data)
    if not folders:
        yield Finding("features", WARN, f"{data}: none yet", featurize)
    for folder in folders:
        try:
            cache = read_cache(folder)
        except IntegrityError as error:
            yield Finding("features", FAIL, str(error), featurize)
            continue
        meta, size = cache.meta, sum(file.stat().st_size for file in folder.iterdir())
        front = meta["front_end"]
        says = (
            f"{folder.name}: from {meta['source']}, {len(cache.clips):,} clips, {front['n_mels']} mels,"
            f" {front['win_ms']:g}/{front['hop_ms']:g} ms, {size / 1e6:,.0f} MB"
        )
        skipped = len(meta.get("skipped", ()))
        says += f", {skipped} files skipped" if skipped else ""
        if folder == cache_folder(data, FrontEnd(**front), fingerprint):
            yield Finding("features", OK, says)
        else:
            yield Finding("features", WARN, f"{says}; the corpus has changed since", featurize)


def run_findings(runs_dir: Path, here: str = "", registry: Path | None = None) -> Iterator[Finding]:
    """Examine the runs: how many are finished, which cannot be read."""
    from kwspot.experiments.runs import is_run, read_run

    where = "" if runs_dir == Path("runs") else f" --runs {shlex.quote(str(runs_dir))}"

    finished, unfinished = 0, []
    for folder in filter(is_run, sorted(runs_dir.glob("*"))):
        try:
            run = read_run(folder)
        except IntegrityError as error:
            remove = f"kwspot runs rm {shlex.quote(folder.name)}{where}"
            yield Finding("runs", FAIL, str(error), remove)
            continue
        finished += run.metrics is not None
        unfinished += [] if run.metrics else [run]
    says = f"{runs_dir}: {finished} finished, {len(unfinished)} unfinished"
    if unfinished:
        repair = _resuming(unfinished[0], here + where, registry) or f"kwspot runs rm {unfinished[0].id}{where}"
        yield Finding("runs", WARN, f"{says}: {', '.join(run.id for run in unfinished)}", repair)
    else:
        yield Finding("runs", OK, says)


def enrolled_findings(runs_dir: Path) -> Iterator[Finding]:
    """Examine the models of own words, if there are any."""
    from kwspot.inference.model_zoo import enrolled_models
    from kwspot.inference.spotter import Spotter

    models, broken = enrolled_models(runs_dir), 0
    for model in models:
        try:
            Spotter(model.path, threads=1)
        except (KwspotError, OSError) as error:
            broken += 1
            said, _, _ = str(error).partition("; write it again")
            yield Finding("own words", FAIL, said, f"kwspot enroll {shlex.quote(model.name)} --again --clips FOLDER")
    if models and not broken:
        yield Finding("own words", OK, ", ".join(model.name for model in models))


def _resuming(run: "Run", places: str, registry: Path | None) -> str | None:
    """Return the command that resumes a run, with the settings it was started with; None if its experiment is gone."""
    from kwspot.experiments.registry import flat, load_registry

    if run.experiment not in (known := load_registry(registry)):
        return None
    stated, settings = flat(known[run.experiment].deciding()), flat(run.record["settings"])
    changed = dict.fromkeys(stated) | settings
    overrides = [f"{key}={json.dumps(value)}" for key, value in changed.items() if stated.get(key) != value]
    more = f" --registry {shlex.quote(str(registry))}" if registry else ""
    more += "".join(f" -o {shlex.quote(one)}" for one in overrides)
    return f"kwspot train {run.experiment} --seed {run.seed}{more}{places} --resume"


def _space(data: Path, runs_dir: Path) -> Iterator[Finding]:
    from kwspot.corpus.layout import corpus_fingerprint

    for folder in (data, runs_dir):
        there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
        free = shutil.disk_usage(there).free
        says = f"{free / 1e9:,.1f} GB free for {folder}"
        if free < ROOM_BYTES:
            yield Finding(
                "space", FAIL, f"{says}: too little to work with", "free some space, or use --data and --runs"
            )
            continue
        try:
            corpus_fingerprint(data)
            short = False
        except KwspotError:
            short = folder == data and free < CORPUS_BYTES
        if short:
            need = f"the recordings need {CORPUS_BYTES / 1e9:.0f} GB"
            yield Finding("space", WARN, f"{says}; {need}", "kwspot download --synthetic")
        else:
            yield Finding("space", OK, says)
