"""How fast is `kwspot featurize`, beside the usual loop and beside what no program can do without?

    python -m benchmarks.features.featurize [--clips 20000] [--rounds 3]

Three sides, each started anew, on a corpus of 16-bit WAV files of a second (hard links to 500 files of noise; with
KWSPOT_REAL_CORPUS also on its clips):

    loop    soundfile and torchaudio's MelSpectrogram, clip by clip, in one process; frames saved in float16
    floor   bytes of a file, one NumPy FFT, mel bands, logarithm, float16 on disk; two processes; nothing is checked
    kwspot  `kwspot featurize lstm`: files checked, digested, decoded, computed, recorded; two processes

The rate is that of two free cores: clips by CPU seconds, times the processes that share them.
"""

import argparse
import os
from pathlib import Path
import shutil
import sys

import numpy as np
import soundfile

from benchmarks.beside import Times, cpu_s, in_turns, machine, peak_mb, process, ratio, scratch, table, write_page
from kwspot.experiments.settings import FrontEnd
from kwspot.tasks import WORDS_35

FRONT_END = FrontEnd()
N_FILES = 500
PROCESSES = {"loop": 1, "floor": 2, "kwspot": 2}
GOALS = {"loop": 3.0, "floor": 0.67}
THIS = "benchmarks.features.featurize"

PAGE = """# Featurize, beside the usual loop and the floor

Written by `{program}`; its first lines say what the sides are. {n} rounds in turns on
{machine}.

{tables}
Goals: at least {loop:g} times the loop's rate and {floor:g} of the floor's.

{before}"""
BEFORE = """\
Before, the same program said of the 20,000 clips (2 rounds): 916 CPU µs a clip, 1.77 times the loop's rate, 0.40 of
the floor's. What changed: plain WAV files are read by Python's `wave` (190 µs a clip to 54, with our own checks); the
front end takes its windows by strides and leaves out the FFT bins above `f_max` (174 to 116 µs); the second worker is a
fork of a process that has imported torch (1.6 s of CPU once instead of twice).
"""


def paths_of(data: Path) -> list[Path]:
    """List the clips of a corpus."""
    return sorted(data.glob("[a-z]*/*.wav"))


def by_loop(data: Path, out: Path) -> None:
    """Do as most scripts do."""
    import torch
    from torchaudio.transforms import MelSpectrogram

    torch.set_num_threads(1)
    mel = MelSpectrogram(
        FRONT_END.sample_rate, FRONT_END.n_fft, FRONT_END.win_length, FRONT_END.hop_length,
        f_min=FRONT_END.f_min, f_max=FRONT_END.f_max, n_mels=FRONT_END.n_mels, center=False,
    )  # fmt: skip
    frames = []
    for path in paths_of(data):
        waveform, _ = soundfile.read(path, dtype="float32")
        frames.append((mel(torch.from_numpy(waveform)) + FRONT_END.log_offset).log().T.half().numpy())
    np.savez(out, *frames)


def by_floor(data: Path, out: Path) -> None:
    """Compute and write no more than what is needed."""
    paths = paths_of(data)
    shape = (len(paths), FRONT_END.max_frames, FRONT_END.n_mels)
    np.lib.format.open_memmap(out, mode="w+", dtype=np.float16, shape=shape)
    child = os.fork()
    rows = range(0, len(paths) // 2) if child else range(len(paths) // 2, len(paths))
    frames = np.load(out, mmap_mode="r+")
    win, hop = FRONT_END.win_length, FRONT_END.hop_length
    hann = np.hanning(win + 1)[:-1].astype(np.float32)
    bands = np.abs(np.random.default_rng(0).normal(size=(FRONT_END.n_fft // 2 + 1, FRONT_END.n_mels)))
    bands = bands.astype(np.float32)
    for row in rows:
        waveform = np.frombuffer(paths[row].read_bytes(), "<i2", offset=44).astype(np.float32) / 32768
        spectrum = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(waveform, win)[::hop] * hann, FRONT_END.n_fft)
        power = (spectrum.real**2 + spectrum.imag**2) @ bands
        frames[row, : len(power)] = np.log(power + np.float32(FRONT_END.log_offset))
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def write_corpus(folder: Path, n_clips: int) -> Path:
    """Write a corpus of a second each: files of noise that swells, under many names."""
    random = np.random.default_rng(0)
    swell = np.sin(np.linspace(0, np.pi, FRONT_END.clip_length))
    files = []
    (folder / "files").mkdir()
    for i in range(N_FILES):
        files.append(folder / "files" / f"{i}.wav")
        soundfile.write(files[-1], random.normal(0, random.uniform(0.01, 0.1), len(swell)) * swell, 16_000, "PCM_16")
    data = folder / "corpus"
    for word in WORDS_35:
        (data / word).mkdir(parents=True)
    for i in range(n_clips):
        (data / WORDS_35[i % 35] / f"{i // 35:08x}_nohash_{i % 3}.wav").hardlink_to(files[i % N_FILES])
    return data


def measured(data: Path, out: Path, rounds: int) -> Times:
    """Run the three sides in turns."""

    def kwspot():  # type: ignore[no-untyped-def]
        shutil.rmtree(data / ".kwspot", ignore_errors=True)
        return process("-m", "kwspot", "featurize", "lstm", "--workers", "2", "--data", str(data))

    sides = {name: (lambda name=name: process("-m", THIS, "--side", name, str(data), str(out))) for name in GOALS}
    return in_turns(rounds, {**sides, "kwspot": kwspot}, warm=False)


def rows_of(times: Times, n_clips: int) -> str:
    """Write the table of one corpus."""
    rows = []
    for name, n_processes in PROCESSES.items():
        share = n_processes / PROCESSES["kwspot"]
        times_as_fast = "" if name == "kwspot" else f"{1 / (ratio(times, 'kwspot', name) * share):.2f}"
        rate = n_clips / cpu_s(times, name)
        rows.append(
            [name, f"{1e6 / rate:.0f}", f"{rate * n_processes:,.0f}", times_as_fast, f"{peak_mb(times, name):.0f}"]
        )
    return table(["side", "CPU µs a clip", "clips/s, two cores", "rate of kwspot beside it", "memory, MB"], rows)


def main() -> None:
    """Measure and write the page, or be one of the sides."""
    if sys.argv[1:2] == ["--side"]:
        {"loop": by_loop, "floor": by_floor}[sys.argv[2]](Path(sys.argv[3]), Path(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    tables = []
    with scratch() as folder:
        corpora = {f"{options.clips:,} generated clips": write_corpus(folder, options.clips)}
        if real := os.environ.get("KWSPOT_REAL_CORPUS"):
            shutil.copytree(real, folder / "real", copy_function=os.link, ignore=shutil.ignore_patterns(".*"))
            corpora[f"{len(paths_of(folder / 'real')):,} real recordings"] = folder / "real"
        for name, data in corpora.items():
            times = measured(data, folder / "frames.npz", options.rounds)
            tables.append(f"## {name}\n\n{rows_of(times, len(paths_of(data)))}\n")
    write_page(
        __file__, PAGE, n=options.rounds, machine=machine("numpy", "soundfile", "torch", "torchaudio"),
        tables="\n".join(tables), before=BEFORE, **GOALS,
    )  # fmt: skip


if __name__ == "__main__":
    main()
