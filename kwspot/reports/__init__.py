"""Figures as people read them: tables for terminal, Markdown and LaTeX, SVG figures, model cards.

Reads run records only: needs neither torch nor corpus. Imports evaluation and experiments.
"""
