"""Recordings -> log-mel frames, computed once and kept on disk -> batches.

    waveforms (batch, n_samples) -> features (batch, n_frames, n_mels) float32 -> cache -> Split.batches

`log_mel` and `dataset` need torch, the rest does not. Imports corpus, audio and experiments.
"""
