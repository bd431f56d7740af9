"""kwspot trains, compares and ships small recurrent keyword spotters.

from kwspot import Spotter

Spotter.load().predict_file("yes.wav").word
kwspot.enroll({"computer": ["take1.wav", "take2.wav"], "lights on": [...]})  # a Spotter of own words
"""

from importlib import import_module
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kwspot.enrollment.enroll import enroll as enroll
    from kwspot.inference.spotter import Prediction as Prediction
    from kwspot.inference.spotter import Spotter as Spotter
    from kwspot.inference.streaming import Stream as Stream

__version__ = "0.1.0"
__all__ = ["Prediction", "Spotter", "Stream", "__version__", "enroll"]

_HOME = {
    "Prediction": "inference.spotter",
    "Spotter": "inference.spotter",
    "Stream": "inference.streaming",
    "enroll": "enrollment.enroll",
}

# onnxruntime >= 1.29 reports to Microsoft unless this is set before its import; its own switch comes too late.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: `kwspot --help` can do without onnxruntime."""
    if name in _HOME:
        return getattr(import_module(f"kwspot.{_HOME[name]}"), name)
    raise AttributeError(f"module 'kwspot' has no attribute '{name}'")
