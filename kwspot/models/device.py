"""Where a model runs: the device by name, what it can do, and what a run is executed with."""

import os
from pathlib import Path
import platform
import subprocess
from typing import Any

import torch

from kwspot import __version__
from kwspot.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:1` into a device that is there."""
    if name == "auto":
        own = int(os.environ.get("LOCAL_RANK", "0"))  # a GPU for each process that torchrun starts
        return torch.device("cuda", own) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device {name}: no such device; write auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {name}: torch sees no CUDA device here; write --device cpu")
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Say whether a device multiplies bfloat16 numbers itself; others imitate it, slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def environment(device: torch.device) -> dict[str, Any]:
    """Describe what a run is executed with."""
    return {
        "kwspot": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": _device_name(device),
        "threads": torch.get_num_threads(),
        "bfloat16": has_bfloat16(device),
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"CPU, {os.cpu_count()} cores, {names[0] if names else platform.machine()}"


def _commit() -> str | None:
    """Return the commit of a source checkout; None for an installed package."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
