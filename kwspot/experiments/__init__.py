"""Experiments as settings, and runs as records: what was asked for, and what came of it.

    experiments.yaml -> Experiment (frozen, strict) -> RUNS/<experiment>-s<seed>-<digest>/ as Run

Needs neither torch nor NumPy. Everything above may import it; it imports only the ground (errors, files, tasks).
"""
