"""The page of `kwspot ui`: live spotting, predict, own words, comparison, in a browser. Needs the extra [ui].

Imports inference, enrollment and reports.
"""
