"""Models as torch modules: feature normalisation -> stem -> encoder of cells -> pooling -> head; published ones too.

    features (batch, n_frames, n_mels), lengths (batch,) -> logits (batch, n_classes)

Needs torch. Imports experiments, to build what settings say and to load the weights of a run.
"""
