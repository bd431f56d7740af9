"""Words of one's own from a few clips or from text alone: a head fitted on the bundled encoder, in one model file.

    clips -> takes -> variants -> encoder -> embeddings -> head -> RUNS/enrolled/<name>.onnx

Needs onnx beside what inference needs, never torch. Imports inference and, for texts, synthesis.
"""
