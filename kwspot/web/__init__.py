"""The page of `kwspot ui`: live spotting, predict, own words, comparison, in a browser; keywords over Wyoming.

Imports inference, enrollment and reports. The page needs the extra [ui], wyoming.py the extra [wyoming].
"""
