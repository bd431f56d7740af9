"""A finished run -> model files that need no torch: written only when they say what the trained model says.

    best.pt -> model.onnx (waveform in, posteriors out), model.stream.onnx, model.int8.onnx

Needs torch and onnx. Imports models, evaluation and inference, against which the files are checked.
"""
