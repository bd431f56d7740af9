"""What the files of a run hold, as far as other modules read it: a shape to check what a disk or a stranger wrote.

More keys are allowed, so that records of later versions can be read; none is converted.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from kwspot.names import escaped, is_printable


def _printable(text: str) -> str:
    if not is_printable(text):
        raise ValueError("holds characters that cannot be printed")
    return text


def _names_a_file(text: str) -> str:
    if text.startswith(".") or set(text) & set("/\\"):
        raise ValueError("no name: a path, or hidden")
    return text


Label = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
Name = Annotated[Label, AfterValidator(_names_a_file)]  # what is written of it is named after it
Count = Annotated[int, Field(ge=0, le=2**53)]  # what a float holds exactly
Share = Annotated[float, Field(ge=0, le=1)]
Interval = Annotated[list[float], Field(min_length=2, max_length=2)]
Point = Annotated[list[float], Field(min_length=4, max_length=4)]  # threshold, false alarms an hour, FRR, confused


class Shape(BaseModel):
    """Base of all shapes: more keys are allowed, nothing is converted."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=True)


class FrontEndShape(Shape):
    """What pictures need of a front end."""

    hop_ms: Annotated[float, Field(gt=0)] = 10.0


class ModelShape(Shape):
    """What files are written of a model depends on."""

    bidirectional: bool = False


class SettingsShape(Shape):
    """Settings are validated whole where they are used (runs.load_settings)."""

    task: Label | list[Label]
    front_end: FrontEndShape
    model: ModelShape
    train: dict[str, Any]

    @model_validator(mode="after")
    def _settings_only(self) -> "SettingsShape":
        if strange := {"name", "why"} & (self.model_extra or {}).keys():  # which stand beside the settings
            raise ValueError(f"{min(strange)}: no setting")
        return self


class CorpusShape(Shape):
    """What a run was trained on."""

    name: Label
    digest: Label
    source: Label
    n_clips: dict[Label, Count]


class EnvironmentShape(Shape):
    """What a run was trained with."""

    kwspot: Label
    device: Label
    threads: int | None = None


class RunShape(Shape):
    """run.json."""

    version: Annotated[Literal[1], Field(alias="schema")]
    run: Name
    experiment: Name
    why: str
    seed: int
    settings: SettingsShape
    classes: Annotated[list[Label], Field(min_length=1)]
    corpus: CorpusShape
    n_parameters: Count
    macs: Count
    environment: EnvironmentShape
    merged_words: list[Label] = []
    teachers: list[Label] = []


class EpochShape(Shape):
    """A line of history.jsonl."""

    epoch: Count
    loss_train: float
    accuracy_train: float
    loss_validation: float
    accuracy_validation: float
    lr: float
    grad_norm: float


class TimingShape(Shape):
    """A line of timing.jsonl."""

    epoch: Count
    seconds_train: float
    seconds_validation: float


class TraceShape(Shape):
    """A line of trace.jsonl."""

    epoch: Count
    gradient: list[float]
    state_spread: list[float] = []


class MetricsShape(Shape):
    """metrics.json."""

    best_epoch: Count
    epochs: Count
    stopped: str
    loss_train: float
    accuracy_train: float
    loss_validation: float
    accuracy_validation: float
    seconds: float


class WordShape(Shape):
    """A class of an evaluation."""

    label: Annotated[Label, Field(alias="class")]
    n: Count
    precision: float | None
    recall: float | None


class PairShape(Shape):
    """Two classes that were confused."""

    true: Label
    predicted: Label
    n: Count


class MeasuredShape(Shape):
    """The corpus that something was measured on."""

    name: Label
    digest: Label


class EvaluationShape(Shape):
    """eval-<split>.json."""

    split: Label
    corpus: MeasuredShape
    n: Count
    n_speakers: Count
    loss: float | None
    accuracy: Share
    interval: Interval | None
    classes: list[Label]
    confusion: list[list[Count]]
    per_class: list[WordShape]
    confused: list[PairShape]
    speakers: dict[str, Annotated[list[Count], Field(min_length=2, max_length=2)]] | None = None

    @model_validator(mode="after")
    def _square(self) -> "EvaluationShape":
        n = len(self.classes)
        if len(self.confusion) != n or any(len(row) != n for row in self.confusion):
            raise ValueError(f"confusion: {n} rows of {n} counts are needed")
        if unknown := {pair.true for pair in self.confused} - {word.label for word in self.per_class}:
            raise ValueError(f"confused: no class {min(unknown)}")
        return self


class LongShape(Shape):
    """What was measured in long audio with one of a run's models."""

    settings: dict[str, float]
    chosen: bool = True  # on validation, rather than kwspot's defaults; records from before do not say
    curve: list[list[float]]
    at_threshold: Point
    at_target: Point
    frr_by_third: list[float]
    frr: dict[str, float] = {}  # `misses` in records from before: reports.det says so
    false_alarms: list[tuple[str, str, int]]
    false_alarms_held_out: Count

    model_config = ConfigDict(strict=False)  # tuples are lists in JSON


class FalseAlarmsShape(Shape):
    """false-alarms-<split>.json."""

    split: Label
    corpus: MeasuredShape
    hours: Annotated[float, Field(gt=0)]
    snr_db: float
    noises: list[str]
    n_keywords: Count
    n_others: Count
    n_clips: Count
    n_speakers: Count
    held_out: list[str]
    n_held_out: Count
    target_per_hour: float
    seed: int
    windows: LongShape | None = None
    stream: LongShape | None = None


class ConditionShape(Shape):
    """The accuracy under one condition."""

    kind: Label
    name: Label
    amount: float | None
    accuracy: Share
    interval: Interval | None


class RobustnessShape(Shape):
    """robustness-<split>.json."""

    split: Label
    n: Count
    n_speakers: Count
    n_noise_recordings: Count
    n_talkers: Count
    corpus: MeasuredShape
    conditions: list[ConditionShape]

    @model_validator(mode="after")
    def _clean(self) -> "RobustnessShape":
        if all(condition.kind != "clean" for condition in self.conditions):  # runs.CLEAN
            raise ValueError("conditions: the kind 'clean' is needed, which the others are compared with")
        return self


class RecordingsShape(Shape):
    """recordings-<split>.json: by WINDOWS and STREAMED, what reports.recordings reads."""

    windows: dict[str, Any] | None = None
    stream: dict[str, Any] | None = None


def problems_with(shape: type[Shape], value: Any) -> list[str]:
    """Say what keeps a value from a shape, a line a problem; nothing if it fits."""
    try:
        shape.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        return [": ".join(filter(None, (escaped(".".join(map(str, one["loc"]))), _said(one)))) for one in found]
    except UnicodeEncodeError:
        return ["holds half a character"]
    return []


def _said(problem: Mapping[str, Any]) -> str:
    """Say a problem that pydantic found, without the name of a class."""
    return "not an object" if problem["type"] == "model_type" else str(problem["msg"]).removeprefix("Value error, ")
