"""From an experiment to a run: batches, augmentation, optimisation, several processes, sweeps.

    Experiment + seed + feature cache -> EpochRecord… -> run record, checkpoint, best weights

Needs torch. Imports evaluation, which measures every epoch.
"""
