"""Keyword spotting with small recurrent models: train them, compare them, ship them."""

__version__ = "0.1.0"
