"""Recordings -> log-mel frames, computed once and kept on disk -> batches.

    waveforms (batch, n_samples) -> features (batch, n_frames, n_mels) float32 -> cache -> Split.batches

`cache`, `silence` and `reference` need no torch, the rest does. Imports corpus, audio and experiments.
"""
