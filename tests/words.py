"""Sounds like words, generated: a voice's harmonics under a formant that moves as the word has it, between pauses."""

import numpy as np

from tests.sounds import RATE, write_sound

# Hz: where the formant begins, turns and ends
GLIDES = {"rise": (400, 2600), "fall": (2600, 400), "high": (700, 2500, 700), "low": (2500, 600, 2500)}


def word(name, seed=0, seconds=0.5, volume=0.3):
    """Say a word, each seed a little differently: float32 (n_samples,)."""
    random = np.random.default_rng(seed)
    seconds *= random.uniform(0.85, 1.15)
    time_s = np.arange(round(seconds * RATE)) / RATE
    pitch_hz = random.uniform(100, 220)
    points = np.multiply(GLIDES[name], random.uniform(0.93, 1.07))
    formant_hz = np.interp(time_s, np.linspace(0, time_s[-1], len(points)), points)
    harmonics = np.arange(1, 1 + int(3800 / pitch_hz))[:, None] * pitch_hz
    sound = (np.exp(-(((harmonics - formant_hz) / 300) ** 2)) * np.sin(2 * np.pi * harmonics * time_s)).sum(0)
    sound *= volume / np.abs(sound).max() * np.sin(np.pi * np.arange(len(sound)) / len(sound)) ** 0.3
    pauses = [random.normal(0, 1e-4, round(random.uniform(0.1, 0.25) * RATE)) for _ in range(2)]
    return np.concatenate([pauses[0], sound + random.normal(0, 1e-4, len(sound)), pauses[1]]).astype(np.float32)


def write_words(folder, names=tuple(GLIDES), n_takes=4, first_seed=0, file="take{}.wav", **how):
    """Write takes of words, each a sound of its own: FOLDER/<word>/take<n>.wav."""
    for w, name in enumerate(names):
        for n in range(n_takes):
            sound = word(name, seed=first_seed + 100 * w + n, **how)
            write_sound(folder / name / file.format(n + 1), sound)
    return folder
