"""What to expect of a model, in words, from what its file says of itself.

`spotting` says what a threshold costs in long sound: its `curve` holds [threshold, false alarms an hour, share of
keywords missed]. `kwspot eval` measured both on people reading aloud, or on words set one after another in noise.
`kwspot enroll` estimated the alarms on other people's speech, the misses on the takes, each left out of the fit in
turn; `enrollment` says under `expected` how often these were right.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kwspot.inference.pipeline import detection_settings

NOT_ESTIMATED = "not estimated, as that takes two recordings of a word"


def purpose(metadata: Mapping[str, Any]) -> str:
    """Say what a model is for; if it is long sound, with the false alarms at its own threshold.

    Words in noise tell nothing of people who talk: a model measured on these alone is one for clips.
    """
    spotting = metadata.get("spotting") or {}
    if spotting.get("curve") and "snr_db" not in spotting:
        alarms, _ = _costs(spotting, detection_settings(metadata).threshold)
    elif "enrollment" in metadata and "target_per_hour" in spotting:
        alarms = _alarms("", spotting["target_per_hour"])  # of one take a word only this is known
    else:
        return "for single clips"
    return f"for long sound: {alarms} an hour of {_sound_of(metadata)}"


def expectation(metadata: Mapping[str, Any], threshold: float) -> str:
    """Say what a threshold costs: false alarms an hour, the share of keywords missed, and how both are known."""
    spotting, enrolled = metadata.get("spotting") or {}, "enrollment" in metadata
    if not spotting.get("curve"):
        if enrolled:
            return f"{NOT_ESTIMATED.capitalize()}."
        return "Not measured: 'kwspot eval RUN --long-audio --split validation' measures it."
    alarms, missed = _costs(spotting, threshold)
    alone = "snr_db" in spotting or enrolled  # words by themselves, said more clearly than in sentences
    how = ""
    if hours := spotting.get("hours"):
        shown = f"{hours:.2g}"
        sound = f"{shown} hour{'' if shown == '1' else 's'} of {_sound_of(metadata)}"
        how = f"; alarms estimated on {sound}, misses on your takes" if enrolled else f"; measured on {sound}"
    return f"Expected: {alarms} an hour, {missed} of the keywords{'' if alone else ' inside sentences'} missed{how}."


def estimate(expected: Mapping[str, Any]) -> str:
    """Say how often words of one's own are right, detected, and another taken for one (`expected` of `enrollment`)."""
    if not expected["n"]:
        return NOT_ESTIMATED
    return (
        f"{expected['right']:.0%} right among the words, {expected['detected']:.0%} detected and "
        f"{expected['accepted']:.1%} of other words taken for one ({expected['n']} clip{'s' * (expected['n'] > 1)}, "
        f"{expected['by']} left out)"
    )


def _costs(spotting: Mapping[str, Any], threshold: float) -> tuple[str, str]:
    """Read false alarms and the share of keywords missed off the curve."""
    thresholds, alarms, frr = np.array(spotting["curve"], float).T
    n_alarms, share = np.interp(threshold, thresholds, alarms), np.interp(threshold, thresholds, frr)
    hours = spotting.get("hours")
    least = 1 / hours if hours else 0.0  # one in all that was measured
    above, below = threshold > thresholds[-1], threshold < thresholds[0]
    how_many = "fewer than " if above or n_alarms < least else "more than " if below else ""
    how_often = "more than " if above and share < 1 else "fewer than " if below and share > 0 else ""
    return _alarms(how_many, max(n_alarms, least)), f"{how_often}{share:.1%}"


def _alarms(how_many: str, value: float) -> str:
    shown = f"{value:.0f}" if value >= 10 else f"{value:.2g}"
    return f"{how_many}{shown} false alarm{'' if shown == '1' else 's'}"


def _sound_of(metadata: Mapping[str, Any]) -> str:
    if "enrollment" in metadata:
        return "other people's speech"
    spotting = metadata["spotting"]
    return f"words in noise at {spotting['snr_db']:g} dB" if "snr_db" in spotting else "people reading aloud"
