"""Sides of a question measured in turns, in one run, and the page that shows them.

    times = in_turns(5, {"kwspot": lambda: process("-m", "kwspot", ...), "floor": lambda: process("-c", FLOOR)})
    write_page(Path("question.md"), PAGE, table=table(times, "floor"), ...)

A side is work that says what it took. All sides take their turn in every round, so that a machine whose speed drifts
moves all of them: read the ratios, which are medians of the ratios within a round. CPU seconds are those of user and
system, of all processes of a side; on a machine with other work they are what can be compared, wall-clock time is not.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
import ctypes
from dataclasses import dataclass
from importlib.metadata import version
import os
from pathlib import Path
import platform
from statistics import median
import subprocess
import sys
import tempfile
from threading import Thread
import time

ROOT = Path(__file__).parents[1]
LIBRARIES = ("numpy", "soundfile", "onnxruntime", "torch", "torchaudio", "typer", "rich")
PR_SET_CHILD_SUBREAPER = 36  # of prctl: processes whose parent has ended become children of this one
SAMPLED_S = 0.25  # between two looks at the memory of processes


@dataclass(frozen=True)
class Took:
    """What work took: CPU seconds and wall-clock seconds; of processes also the peak of their memory in MB.

    `own_mb` is without the files that are mapped into memory, libraries and frames alike: those the system takes back
    when it needs the space.
    """

    cpu_s: float
    wall_s: float
    peak_mb: float = 0.0
    own_mb: float = 0.0


Times = Mapping[str, Sequence[Took]]


def here(work: Callable[[], object]) -> Took:
    """Time a call in this process."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Took(time.process_time() - cpu, time.perf_counter() - wall)


def process(*arguments: str) -> Took:
    """Time Python with arguments, with all processes that it starts; its output is dropped, its failure raised.

    Memory is the sum over these processes, what they share counted once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    seen = [(0.0, 0.0)]
    watch = Thread(target=lambda: seen.extend(_memory_of(child.pid)), daemon=True)
    watch.start()
    error = child.stderr.read() if child.stderr else ""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    watch.join()
    if child.returncode:
        raise RuntimeError(f"{arguments} ended with {child.returncode}: {error}")
    cpu_s = usage.ru_utime + usage.ru_stime + sum(_orphans())
    peak_mb, own_mb = (max(each) for each in zip(*seen, strict=True))
    return Took(cpu_s, wall, max(peak_mb, usage.ru_maxrss / 1024), own_mb)


def _orphans() -> Iterator[float]:
    """Wait for what a process started and did not wait for, as a server of forks; yield the CPU seconds of each."""
    with suppress(ChildProcessError):
        while True:
            usage = os.wait4(-1, 0)[2]
            yield usage.ru_utime + usage.ru_stime


def _memory_of(pid: int) -> Iterator[tuple[float, float]]:
    """Yield the memory of a process and its descendants in MB, all and own, until it ends; none without /proc."""
    while family := _family(pid):
        rollups = [_rollup_kb(each) for each in family]
        yield sum(r.get("Pss", 0) for r in rollups) / 1024, sum(r.get("Pss_Anon", 0) for r in rollups) / 1024
        time.sleep(SAMPLED_S)


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(p for child in children for p in _family(int(child)))]


def _rollup_kb(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}


def in_turns(rounds: int, sides: Mapping[str, Callable[[], Took]], warm: bool = True) -> dict[str, list[Took]]:
    """Run each side once unmeasured if `warm`, then all in turns; return what each took, round by round."""
    for side in sides.values() if warm else ():
        side()
    times: dict[str, list[Took]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, side in sides.items():
            times[name].append(side())
            took = times[name][-1]
            print(f"round {number + 1}: {name}: {took.cpu_s:.3f} s of CPU, {took.wall_s:.3f} s", flush=True)
    return times


def ratio(times: Times, side: str, to: str) -> float:
    """Return how many times the CPU seconds of another a side takes: the median of the rounds' ratios."""
    return median(a.cpu_s / b.cpu_s for a, b in zip(times[side], times[to], strict=True))


def cpu_s(times: Times, side: str) -> float:
    """Return the median CPU seconds of a side."""
    return median(took.cpu_s for took in times[side])


def peak_mb(times: Times, side: str) -> float:
    """Return the highest peak of a side's memory."""
    return max(took.peak_mb for took in times[side])


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table; all columns but the first are numbers."""
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(*libraries: str) -> str:
    """Name the machine and the versions that a page was measured with."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{library} {version(library)}" for library in libraries)
    return f"{cores} cores of {_processor()}, Python {platform.python_version()}, {versions}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def write_page(program: str, text: str, **values: object) -> None:
    """Fill a template and write it as the page beside a program; print it too."""
    path = Path(program).with_suffix(".md")
    page = text.format(program=f"python -m {'.'.join(path.relative_to(ROOT).with_suffix('').parts)}", **values)
    path.write_text(page, encoding="utf-8")
    print(page)


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder for what is measured, in the working directory's file system, and remove it."""
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "build", prefix="benchmark-") as folder:
        yield Path(folder)
