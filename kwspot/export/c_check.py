"""The C of a model, compiled here and compared with the model file: it is kept only if every decision is the same.

clips (n, n_samples) of 16 bits -> posteriors (n, n_classes) by cc and by onnxruntime
"""

from collections.abc import Iterable
import ctypes
import os
from pathlib import Path
import shlex
import shutil
import subprocess
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from kwspot.errors import IntegrityError, MissingError
from kwspot.export.c_source import write_c
from kwspot.inference.spotter import Spotter

TOLERANCE = 1e-3  # of a posterior: C99's Fourier transform rounds otherwise than a sum over the window
FLAGS = ("-std=c99", "-O2", "-shared", "-fPIC", "-ffp-contract=off")

Samples = NDArray[np.int16]
Floats = NDArray[np.float32]


class Compiled:
    """The C of a model as a library of this machine; each call takes whole clips."""

    def __init__(self, folder: Path, spotter: Spotter, into: Path) -> None:
        self.hop_length = int(spotter.metadata["front_end"]["hop_ms"] * spotter.sample_rate / 1000)
        self.n_classes = len(spotter.labels)
        library = into / "kwspot.so"
        command = [*compiler(), *FLAGS, str(folder / "kwspot.c"), "-o", str(library), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise IntegrityError(f"{folder}: {command[0]} refuses the C: {done.stderr.strip()[:200]}; please report it")
        self._library = ctypes.CDLL(str(library))
        self._library.kwspot_feed.restype = ctypes.POINTER(ctypes.c_float)

    def rows(self, clip: Samples) -> Floats:
        """Compute the posteriors (k, n_classes) of all steps of one clip (n_samples,)."""
        self._library.kwspot_reset()
        found = []
        for hop in clip[: len(clip) // self.hop_length * self.hop_length].reshape(-1, self.hop_length):
            hop = np.ascontiguousarray(hop)
            if row := self._library.kwspot_feed(hop.ctypes.data_as(ctypes.POINTER(ctypes.c_int16))):
                found.append(np.ctypeslib.as_array(row, (self.n_classes,)).copy())
        return np.stack(found) if found else np.zeros((0, self.n_classes), np.float32)


def compiler() -> list[str]:
    """Return the command of this machine's C compiler: $CC, cc, gcc or clang; MissingError without one."""
    if chosen := shlex.split(os.environ.get("CC", "")):
        return chosen
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise MissingError("no C compiler to check the C with before it is written; install gcc, or name one in $CC")


def write_checked(model: Path, folder: Path, batches: Iterable[Floats]) -> list[Path]:
    """Write the C of a model file into a folder; IntegrityError, and no file, if it decides otherwise than the file.

    `batches` of clips (n, n_samples) in [-1, 1] are what is compared.
    """
    compiler()
    spotter = Spotter(model)
    with TemporaryDirectory() as scratch:
        write_c(model, Path(scratch))
        compiled = Compiled(Path(scratch), spotter, Path(scratch))
        for clips in batches:
            whole = np.clip(np.rint(clips * 2**15), -(2**15), 2**15 - 1).astype(np.int16)
            expected = spotter.posteriors(whole.astype(np.float32) / np.float32(2**15))
            found = [compiled.rows(clip)[-1:] for clip in whole]
            if any(len(row) == 0 for row in found):
                continue  # shorter than the first step
            require_same(model, np.concatenate(found), expected)
        return write_c(model, folder)


def require_same(model: Path, found: Floats, expected: Floats) -> None:
    """Raise IntegrityError unless posteriors (n, n_classes) are the same for every purpose."""
    difference = float(np.abs(found - expected).max())
    n_other = int((found.argmax(-1) != expected.argmax(-1)).sum())
    if not difference <= TOLERANCE or n_other:
        raise IntegrityError(
            f"{model}: the C is not the model (posteriors differ by up to {difference:.1e}, {n_other} of "
            f"{len(found)} decisions differ); nothing written; please report it"
        )
