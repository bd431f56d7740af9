"""Models as torch modules: input scaling -> stem -> encoder of cells -> pooling -> head; published ones beside them.

    features (batch, n_frames, n_mels), lengths (batch,) -> logits (batch, n_classes)

Needs torch. Imports experiments, to build what settings say and to load the weights of a run.
"""
