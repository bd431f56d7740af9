"""What can be set of an experiment: frozen, strict settings of front end, model, augmentation and training."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
import reprlib
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from kwspot.files import digest_of
from kwspot.tasks import TASKS

FOLDER_TASK = "folder"  # the words are whatever word folders the corpus has, with `unknown` if one is called so

NAME = r"^\w[\w.+-]{0,99}$"  # of an experiment, which is part of a folder's name

Positive = Annotated[int, Field(gt=0, le=10**9)]
Size = Annotated[int, Field(gt=0, le=2**16)]  # of what memory is needed for
Few = Annotated[int, Field(gt=0, le=100)]  # layers, frames
PositiveFloat = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


def _rising(ends: list[float]) -> list[float]:
    if ends[0] > ends[1]:
        raise ValueError(f"from the lower to the higher, got {ends}; write {ends[::-1]}")
    return ends


Range = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_rising)]


class Settings(BaseModel):
    """Base of all settings: frozen, no unknown key, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


# What settings were called until 0.1, to name the new ones where an old one is found.
RENAMED = {
    "model.input_scaling": "model.feature_norm",
    "train.average_epochs": "train.swa_epochs",
    "train.words_apart": "train.merge_unknown",
    "augment.tract": "augment.vtlp",
    "augment.band_masks": "augment.freq_masks",
    "augment.band_mask_width": "augment.freq_mask_width",
    "augment.neighbour_share": "augment.neighbours.share",
}


class FrontEnd(Settings):
    """Log-mel front end: 30 ms frames every 10 ms over 40 mel bands, as in Hello Edge (arXiv:1711.07128)."""

    sample_rate: Positive = 16_000  # Hz
    clip_ms: PositiveFloat = 1000.0  # longer clips are cropped to their loudest part
    win_ms: PositiveFloat = 30.0
    hop_ms: PositiveFloat = 10.0
    n_fft: Size = 512
    n_mels: Size = 40
    f_min: Annotated[float, Field(ge=0)] = 0.0  # Hz
    f_max: PositiveFloat = 4000.0  # Hz
    log_offset: PositiveFloat = 1e-6  # added to the mel power before the logarithm

    @model_validator(mode="after")
    def _fits_together(self) -> "FrontEnd":
        for name in ("clip_ms", "win_ms", "hop_ms"):
            if not (samples := self.sample_rate * getattr(self, name) / 1000).is_integer():
                raise ValueError(f"{name} must be a whole number of samples, not {samples:g}; change the milliseconds")
        if self.win_length > self.n_fft:
            raise ValueError(f"n_fft {self.n_fft} cannot hold the window of {self.win_length} samples; raise it")
        if self.win_length > self.clip_length:
            raise ValueError(f"the window of {self.win_length} samples is longer than a clip of {self.clip_length}")
        if not self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError(f"f_max needs f_min < f_max <= {self.sample_rate / 2:g} Hz, half the sample rate")
        return self

    @property
    def clip_length(self) -> int:
        """Samples of a whole clip."""
        return int(self.sample_rate * self.clip_ms / 1000)

    @property
    def win_length(self) -> int:
        """Window in samples."""
        return int(self.sample_rate * self.win_ms / 1000)

    @property
    def hop_length(self) -> int:
        """Hop in samples."""
        return int(self.sample_rate * self.hop_ms / 1000)

    def n_frames(self, n_samples: int) -> int:
        """Count the windows that lie wholly inside `n_samples`, at least one: 98 for one second at 30/10 ms."""
        return 1 + max(0, n_samples - self.win_length) // self.hop_length

    @property
    def max_frames(self) -> int:
        """Frames of a whole clip."""
        return self.n_frames(self.clip_length)

    @property
    def digest(self) -> str:
        """Digest of everything that decides a feature value, 64 hex digits."""
        return digest_of(self.model_dump())


class BandSettings(Settings):
    """Convolutions over bands as well: a voice higher or lower is much the same, moved."""

    joined: Positive  # size of a step: a linear layer joins what is left of the bands
    kernel: Positive = 3  # bands
    stride: Positive = 2  # of each convolution: two of them leave a quarter of the bands


class StemSettings(Settings):
    """Convolutions over time before the recurrence, one for every number of channels."""

    channels: Annotated[list[Positive], Field(min_length=1)]
    kernel: Positive = 5  # frames, or outputs of the convolution before
    stride: Positive = 2  # of each convolution: two of them make a step of every fourth frame
    bands: BandSettings | None = None  # over bands as well; without it every band is a channel


class ModelSettings(Settings):
    """One recurrent spotter: feature normalisation -> stem -> stacking -> encoder -> pooling -> head."""

    cell: Literal["rnn", "rnn_ln", "fastrnn", "mingru", "lstm", "gru"] = "rnn"
    hidden_size: Size = 128
    num_layers: Few = 2
    bidirectional: bool = False
    dropout: Fraction = 0.2  # between layers
    recurrent_init: Literal["uniform", "orthogonal", "identity"] = "uniform"
    feature_norm: Literal["none", "standard"] = "none"  # standard: per mel band, statistics of the training split
    stem: StemSettings | None = None
    frame_stack: Few = 1  # neighbouring frames, or outputs of the stem, joined into one step of the recurrence
    pooling: Literal["last", "mean", "max", "attention"] = "last"
    attention_heads: Positive | None = None  # of pooling: attention; 1 by default
    head_norm: bool = False  # LayerNorm before the linear layer
    embedding_size: Positive | None = None  # of an encoder: a linear layer before the head, which compares by cosine
    n_phonemes: Positive | None = None  # of an encoder: what train.objective.phonemes reads off every step
    # A model as its paper has it, in place of all of the above but feature normalisation:
    published: Literal["bc_resnet_1", "bc_resnet_2", "bc_resnet_3", "bc_resnet_8", "mhatt_rnn"] | None = None

    @model_validator(mode="after")
    def _heads_of_attention(self) -> "ModelSettings":
        if self.attention_heads is not None and self.pooling != "attention":
            raise ValueError(f"attention_heads are of pooling: attention, not of {self.pooling}; set them to null")
        if self.embedding_size is not None and (self.bidirectional or self.pooling == "last"):
            raise ValueError("embedding_size makes an encoder, which reads in one direction and pools its states")
        return self


class DistillSettings(Settings):
    """Finished runs to learn from, beside the labels (training.optim.distilled)."""

    teachers: Annotated[list[str], Field(min_length=1)]  # runs, or experiments: all their finished runs
    temperature: PositiveFloat = 2.0
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5  # of what the teachers say in the loss


class ObjectiveSettings(Settings):
    """What an encoder is trained for beside the words' cross-entropy (training.objectives); numbers are weights."""

    classify: bool = True  # false: the head only reads the embeddings, and the other losses shape them
    margin: Annotated[float, Field(gt=0, lt=1.5)] | None = None  # radians between a clip and its word (ArcFace)
    prototypical: PositiveFloat | None = None
    contrastive: PositiveFloat | None = None
    phonemes: PositiveFloat | None = None  # CTC of each word's pronunciation
    teacher: PositiveFloat | None = None  # what a larger model makes of the clips, imported with their frames
    clips_per_word: Annotated[int, Field(ge=2)] | None = None  # that stand together in a batch


class BackgroundSettings(Settings):
    """Windows of long recordings that every batch gets besides its clips (training.background); shares of its clips."""

    speech_share: NotNegative = 0.5  # running speech: `unknown`
    hard_share: Annotated[float, Field(ge=0, le=1)] = 0.5  # of that: drawn by what the model takes for a keyword
    spoken_share: NotNegative = 0.1  # keywords in sentences
    noise_share: NotNegative = 0.1  # noise and music: `silence`
    jitter: NotNegative = 0.0  # nats, standard deviation, of half of them: to be as rough as the clips (JPEG's: 0.4)


class TrainSettings(Settings):
    """How an experiment is trained."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: PositiveFloat = 1e-3  # the peak of a schedule
    schedule: Literal["cosine", "one_cycle"] | None = None
    warmup_epochs: Positive | None = None  # of a rate that rises in a line; one_cycle has its own
    weight_decay: PositiveFloat | None = None
    label_smoothing: Annotated[float, Field(gt=0, lt=1)] | None = None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None  # a step; evaluate the moving average of the weights
    swa_epochs: Positive | None = None  # evaluate the mean of the weights of the last epochs
    start_from: str | None = None  # a finished run of the same model; with other classes, from all but its head
    distill: DistillSettings | None = None
    objective: ObjectiveSettings | None = None  # of an encoder
    background: BackgroundSettings | None = None  # of a spotter that is left running
    batch_size: Positive = 32
    epochs: Positive = 100  # at most
    patience: Positive | None = 5  # epochs without a better validation accuracy before stopping; null: go to the end
    keep_last: bool | None = None  # the last epoch, not the best on clips: what else it learned may be worth more
    clip_norm: PositiveFloat | None = 1.0  # of the whole gradient
    class_weights: bool = False  # weigh the loss by inverse class frequency
    unknown_share: PositiveFloat | None = None  # training clips of `unknown` for every keyword clip (dataset.select)
    held_out: list[str] | None = None  # words kept out of training and validation, to test `unknown` with
    merge_unknown: bool | None = None  # the words of `unknown` are classes in training, merged after it
    mixed_precision: bool | None = None  # products in bfloat16 where the device has it; weights stay float32

    @model_validator(mode="after")
    def _fitting(self) -> "TrainSettings":
        if self.ema_decay is not None and self.swa_epochs is not None:
            raise ValueError("ema_decay and swa_epochs are both set; choose one, null for the other")
        if self.keep_last and self.patience is not None:
            raise ValueError("keep_last keeps what patience would not wait for; set patience to null")
        return self


class NeighbourSettings(Settings):
    """Clips as windows of running speech: shifted, with other words before and after, or with only a piece left."""

    share: Annotated[float, Field(gt=0, le=1)]  # of the clips
    shift_ms: NotNegative = 200.0  # of a keyword at most: it stays whole
    cut_share: Annotated[float, Field(ge=0, le=1)] = 0.12  # of those keywords: cut, so that they become `unknown`
    cut_shift_ms: Range = [550.0, 800.0]
    unknown_shift_ms: NotNegative = 600.0  # of other words at most: pieces of them are other words too
    overlap_ms: NotNegative = 300.0  # of a neighbour's end that the next clip may take the place of
    closeness: Annotated[float, Field(gt=0, le=1)] | None = None  # of the quiet around a word that neighbours may take


class AugmentSettings(Settings):
    """How training clips are varied, drawn per clip and per epoch. Ranges lie around no change."""

    route: Literal["waveform"] | None = None  # from the recordings in every epoch; null: cached frames
    shift_ms: NotNegative = 0.0
    speed: Fraction = 0.0  # 0.15 for 0.85 to 1.15 times the tempo
    vtlp: Fraction = 0.0  # the same for the frequencies of the vocal tract
    gain_db: NotNegative = 0.0
    noise_share: Annotated[float, Field(ge=0, le=1)] = 0.0  # of the clips
    snr_db: Range = [-2.0, 23.0]
    time_masks: Annotated[int, Field(ge=0)] = 0
    time_mask_ms: NotNegative = 250.0  # at most
    freq_masks: Annotated[int, Field(ge=0)] = 0
    freq_mask_width: NotNegative = 7.0  # bands at most
    neighbours: NeighbourSettings | None = None
    mixup: Annotated[float, Field(gt=0, le=1)] | None = None  # alpha of the Beta distribution


class Experiment(Settings):
    """The resolved settings of one named experiment."""

    name: Annotated[str, Field(pattern=NAME)]
    why: Annotated[str, Field(min_length=1)]
    task: str | list[str] = "kws35"
    front_end: FrontEnd = FrontEnd()
    model: ModelSettings = ModelSettings()
    augment: AugmentSettings | None = None
    train: TrainSettings = TrainSettings()

    @field_validator("task")
    @classmethod
    def _known_task(cls, task: str | list[str]) -> str | list[str]:
        if isinstance(task, str):
            if task not in (known := [*TASKS, FOLDER_TASK]):
                raise ValueError(f"no task '{task}'; known: {', '.join(known)}, or a list of words")
        elif len(set(task)) < max(2, len(task)):
            raise ValueError(f"needs at least two different words, got {task}")
        return task

    @model_validator(mode="after")
    def _unknown_is_one_class(self) -> "Experiment":
        neighbours = self.augment is not None and self.augment.neighbours is not None
        if self.train.merge_unknown and (self.train.distill or neighbours):
            raise ValueError(
                "train.merge_unknown does not go with train.distill or augment.neighbours, which know 'unknown' as one "
                "class; leave it or them out"
            )
        return self

    @model_validator(mode="after")
    def _background_comes_as_frames(self) -> "Experiment":
        if self.train.background and self.augment and self.augment.route == "waveform":
            raise ValueError(
                "train.background does not go with augment.route: waveform: its windows are frames; leave one out"
            )
        return self

    def deciding(self) -> dict[str, Any]:
        """Return what decides a result: everything but the name, the reason, and parts that are not there.

        A part that kwspot learns later is None by default, so that runs from before keep their names.
        """
        return self.model_dump(exclude={"name", "why"}, exclude_none=True, mode="json")


def problems_of(error: ValidationError, name: str) -> Iterator[str]:
    """Say each problem of an experiment in a line: where, what is wrong, what would be right."""
    for problem in error.errors():
        location = [part for part in problem["loc"] if not str(part).startswith(("list[", "str"))]
        path = ".".join(map(str, location))
        where = f"{name}.{path}" if path else name
        if path in RENAMED:
            yield f"{where}: renamed; write '{RENAMED[path]}'"
        elif problem["type"] == "extra_forbidden":
            known = _fields_at(location[:-1])
            near = get_close_matches(str(location[-1]), known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
            yield f"{where}: unknown; {hint}"
        elif problem["type"] == "missing":
            yield f"{where}: missing; say it in a sentence" if location[-1] == "why" else f"{where}: missing"
        elif problem["type"] == "string_pattern_mismatch":
            yield f"'{name}': no name for an experiment; letters, digits, '_', '-', '.' and '+' make one, 100 at most"
        elif problem["type"] == "value_error":
            yield f"{where}: {problem['msg'].removeprefix('Value error, ')}"
        else:
            message = problem["msg"].removeprefix("Input ")
            yield f"{where}: {message}, got {reprlib.repr(problem['input'])}"


def _fields_at(location: Sequence[Any]) -> list[str]:
    """List the keys that may stand at a place of an experiment."""
    model: Any = Experiment
    for part in location:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return [name for name in model.model_fields if name != "name"]
