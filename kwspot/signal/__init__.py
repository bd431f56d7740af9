"""Sound that is made or changed: noise, rooms, microphones, telephones, at a signal-to-noise ratio.

waveform (n_samples,) at a rate -> waveform. NumPy and soxr; random streams are arguments. Imports audio.
"""
