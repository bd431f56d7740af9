"""kwspot trains, compares and ships small recurrent keyword spotters.

import kwspot

kwspot.predict("yes.wav").word                  # a clip: its word; or a waveform with its sample rate
for event in kwspot.spot("meeting.wav"):        # a recording: event.word, event.start_s, event.end_s
    ...
for event in kwspot.listen():                   # the microphone, without end
    ...
kwspot.enroll({"computer": ["take1.wav", "take2.wav"]}, path="house.onnx")  # a Spotter of own words

Spotter and Stream open a model once and keep it. None of this needs torch.
"""

from importlib import import_module
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kwspot.enrollment.enroll import enroll as enroll
    from kwspot.inference.api import listen as listen
    from kwspot.inference.api import predict as predict
    from kwspot.inference.api import spot as spot
    from kwspot.inference.detector import Event as Event
    from kwspot.inference.spotter import Prediction as Prediction
    from kwspot.inference.spotter import Spotter as Spotter
    from kwspot.inference.streaming import Stream as Stream

__version__ = "0.1.0"
__all__ = ["Event", "Prediction", "Spotter", "Stream", "__version__", "enroll", "listen", "predict", "spot"]

_HOME = {
    "Event": "inference.detector",
    "Prediction": "inference.spotter",
    "Spotter": "inference.spotter",
    "Stream": "inference.streaming",
    "enroll": "enrollment.enroll",
    "listen": "inference.api",
    "predict": "inference.api",
    "spot": "inference.api",
}

# onnxruntime >= 1.29 reports to Microsoft unless this is set before its import; its own switch comes too late.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: `kwspot --help` can do without onnxruntime."""
    if name in _HOME:
        return getattr(import_module(f"kwspot.{_HOME[name]}"), name)
    raise AttributeError(f"module 'kwspot' has no attribute '{name}'")


def __dir__() -> list[str]:
    """List what is offered, imported or not."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
