"""Words nobody recorded, spoken by speech synthesisers into rooms and microphones: a corpus in the official layout.

    text -> engine -> waveform -> signal.channel -> DEST/<word>/<speaker>_nohash_<take>.wav

The engines come with the extra [synth]. Imports corpus and signal.
"""
