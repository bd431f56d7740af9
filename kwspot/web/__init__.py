"""The page of `kwspot ui`: predict, live spotting, comparison, in a browser. Needs the extra [ui].

Imports inference and reports.
"""
