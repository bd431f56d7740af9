"""Sound that comes in: files, pipes and microphones -> waveforms (n_samples,) float32 in [-1, 1], mono.

Training and spotting read with these modules, none of which needs torch. Imports only the ground.
"""
