"""A corpus on disk: fetched, installed whole, and listed as clips with word, speaker and official split.

    DATA/<word>/<speaker>_nohash_<take>.wav -> Clip(name, word, speaker, split)

Needs no torch. Imports audio, to know which files are sound and to read the noise recordings.
"""
