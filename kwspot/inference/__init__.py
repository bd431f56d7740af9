"""The light half: a model file applied to sound. Needs onnxruntime, soundfile and NumPy, never torch.

    clip -> posteriors -> Prediction          blocks of a long sound -> posteriors over time -> Event…

Imports audio, and experiments to find the model files of runs.
"""
