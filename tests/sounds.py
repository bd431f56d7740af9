"""Generated sound: tones, and small corpora of tones in the official layout."""

import numpy as np
import soundfile

RATE = 16_000  # Hz


def tone(hz, seconds=1.0, rate=RATE, volume=0.3):
    """A sine of `hz`; float32 (n_samples,)."""
    return (volume * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_sound(path, waveform, rate=RATE, **kind):
    """Write a waveform, or channels (n_samples, n_channels); make the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, rate, **kind)
    return path


def write_noise(data, seconds=6.0, name="hum.wav"):
    """Write a noise file that tells its time: 500 Hz for 80 %, then 1500 Hz for 10 %, then 3000 Hz."""
    parts = [tone(hz, share * seconds, volume=0.9) for hz, share in ((500, 0.8), (1500, 0.1), (3000, 0.1))]
    return write_sound(data / "_background_noise_" / name, np.concatenate(parts))


def make_corpus(data, words=("left", "right"), n_speakers=8, seconds=1.0, seed=0):
    """Write one clip of every word by every speaker: a tone of the word's own frequency in faint noise."""
    random = np.random.default_rng(seed)
    for w, word in enumerate(words):
        for s in range(n_speakers):
            waveform = tone(400 * (w + 1), seconds)
            waveform += random.normal(0, 0.01, len(waveform)).astype(np.float32)
            write_sound(data / word / f"{s:08x}_nohash_0.wav", waveform)
    return data
