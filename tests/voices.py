"""The speech synthesisers that tests can use: installed, and with their voices on this machine."""

import pytest

from kwspot.synthesis.engines import ENGINES, installed
from kwspot.synthesis.kokoro import voices_path

USABLE = tuple(name for name in ENGINES if name in installed() and (name != "kokoro" or voices_path().is_file()))
EACH_ENGINE = [pytest.param(n, marks=() if n in USABLE else pytest.mark.skip("not installed")) for n in ENGINES]
