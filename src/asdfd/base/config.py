"""The parameters of a run: one tree of frozen models, which alone has the defaults. `base.loading` reads it, `base.parts` what a task is given of it.

Every field's docstring is its help text on the command line.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _number(value: Any) -> Any:
    """Refuse yes and no where a number is needed; they would count as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("input should be a number")  # noqa: TRY004  # pydantic takes a ValueError for a violation, a TypeError for a defect
    return value


Count = Annotated[int, BeforeValidator(_number), Field(ge=1)]
CountOrZero = Annotated[int, BeforeValidator(_number), Field(ge=0)]
Share = Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)]
Weight = Annotated[float, BeforeValidator(_number), Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, BeforeValidator(_number), Field(ge=0, lt=2**63)]


class Frozen(BaseModel):
    """Base of all parameter models: immutable, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def changed(self, **values: Any) -> Self:
        """A copy with other values, which is checked as a new one is; pydantic's own `model_copy` checks nothing.

        Raises:
            ValidationError: an unknown name, or values that do not fit.
            AttributeError: this is a part of a run, which must not get defaults in this way.
        """
        return type(self).model_validate({name: getattr(self, name) for name in type(self).model_fields if name not in values} | values)


class Teacher(Frozen):
    """Which model is compressed."""

    reference: str = ""
    """Teacher: a folder, hf://organisation/name@revision, or s3://bucket/prefix."""
    digest: str = ""
    """Expected digest of the fetched teacher artifact; empty accepts any."""
    base: str = ""
    """Public encoder that it was fine-tuned from, named as it is; then samples take after the training texts, as far as the weights reveal them."""


class Synthesis(Frozen):
    """Pseudo inputs, made from the teacher alone."""

    samples: Count = 64000
    """Pseudo samples in the bank; different samples teach more than repeated ones."""
    initial: Literal["gaussian", "tokens"] = "tokens"
    """Initial embeddings: normal with the statistics of the teacher's table, or its rows at drawn tokens."""
    prior: Literal["uniform", "zipf"] = "zipf"
    """Prior over the vocabulary for drawn tokens: every word alike, or by rank (a vocabulary is ordered by frequency)."""
    prior_text: str = ""
    """Declared source of word order: a UTF-8 file of unlabelled public text, one text per line; samples begin as pieces of it. The student is not data-free."""
    prior_model: str = ""
    """Declared source of word order: a folder of a public masked language model with the teacher's tokenizer; samples begin as its words."""
    guessing: Literal["none", "embedding", "replacement"] = "none"
    """How a sample is driven to its class: not at all, gradient steps on embeddings, or gradient-guided token replacement."""
    rounds: Count = 1
    """Rounds of guessing for each sample."""
    step_size: Positive = 0.5
    """Length of one embedding guessing step, in root-mean-square lengths of a row of the teacher's table."""
    replaced_share: Share = 0.3
    """Share of a sample's tokens that one replacement round draws anew."""
    pool: Count = 1024
    """Tokens drawn from the prior that a replacement round scores."""
    candidates: Count = 8
    """Best-scored tokens of the pool that a replacement is drawn from."""
    minimum_length: Count = 4
    """Fewest tokens of a sample, special tokens not counted."""
    maximum_length: Count = 20
    """Most tokens of a sample, special tokens not counted; of half of them where the teacher's footprint tells how long its training texts were."""
    pairs: bool = False
    """Whether the teacher reads pairs of texts (premise and hypothesis, two questions), so that samples are pairs, too."""
    confidence: Share = 0.9
    """Teacher probability of the target class from which a sample counts as converged."""

    @property
    def holds_tokens(self) -> bool:
        """Whether the bank's entries are token ids (else embeddings)."""
        return self.initial == "tokens" and self.guessing != "embedding"

    @model_validator(mode="after")
    def _fits_together(self) -> Synthesis:
        if self.minimum_length > self.maximum_length:
            raise ValueError(f"minimum_length {self.minimum_length} is above maximum_length {self.maximum_length}; lower one or raise the other")
        if self.pairs and self.minimum_length < 2:
            raise ValueError("minimum_length 1 leaves nothing for one of a pair's two texts; raise it to 2 at least, or set pairs to false")
        if self.guessing == "replacement" and self.initial != "tokens":
            raise ValueError("guessing 'replacement' works on tokens; set initial to 'tokens' or guessing to 'embedding'")
        if self.prior_text and self.prior_model:
            raise ValueError("prior_text and prior_model are both set, and only one of them can give the order of words; leave the other empty")
        if (self.prior_text or self.prior_model) and self.initial != "tokens":
            raise ValueError(f"{'prior_text' if self.prior_text else 'prior_model'} gives tokens; set initial to 'tokens' or leave it empty")
        return self


class Student(Frozen):
    """The smaller model: some of the teacher's layers."""

    layers: Annotated[str, BeforeValidator(str)] = "every-other"
    """Layer map: every-other, first, last, or a list of teacher layers from 0 such as 1,3,5; all takes the teacher as it is, for its export."""
    count: CountOrZero = 0
    """Layers of the student; 0 takes half of the teacher's (ignored for an explicit list)."""
    width: CountOrZero = 0
    """Hidden size of the student, a multiple of the size of the teacher's heads; 0 takes the teacher's. A narrower one learns from a bank of tokens only."""
    dtype: Literal["teacher", "float32", "float16", "bfloat16"] = "teacher"
    """Type that the student's weights are saved in; teacher is the type of the teacher's. All is computed in float32."""
    vocabulary: Literal["pruned", "whole"] = "pruned"
    """Words of the student and of the teacher's int8: those of the training texts, as far as the footprint tells (teacher.base), and frequent ones; or all."""

    @property
    def is_teacher(self) -> bool:
        """Whether the student is the teacher itself, so that there is nothing to learn."""
        return self.layers == "all" and not self.width


class Distillation(Frozen):
    """How the student learns from the teacher on the bank: layer by layer at first (teacher forcing), then end to end, perhaps against an adversary."""

    steps: Count = 2000
    """Student steps."""
    batch_size: Count = 32
    """Pseudo samples of one step; where the teacher's footprint tells lengths, as many as have about the same number of tokens (14 each)."""
    learning_rate: Positive = 8e-4
    """Peak learning rate of AdamW; it falls linearly to zero."""
    warmup_share: Share = 0.1
    """Share of the steps in which the learning rate rises from zero."""
    weight_decay: Weight = 0.01
    """Decoupled weight decay of AdamW."""
    gradient_norm: Positive = 1.0
    """Largest norm of the gradient; longer ones are scaled down."""
    forced_share: Share = 0.8
    """Share of the steps, from the first, in which every layer of the student learns by itself from the teacher's hidden states (teacher forcing)."""
    temperature: Positive = 2.0
    """Temperature of the soft targets; the loss carries its square."""
    logit_weight: Weight = 1.0
    """Weight of KL(teacher || student) on the logits."""
    hidden_weight: Weight = 16.0
    """Weight of the hidden-state matching over the layer map."""
    selfsup_weight: Weight = 0.0
    """Weight mu of the student's self-supervised loss (masked-embedding prediction)."""
    masked_share: Share = 0.15
    """Share of the positions that the self-supervised task masks."""
    adversary: Literal["none", "embedding"] = "none"
    """Whether entries are made harder by ascent on the self-supervised loss."""
    adversary_warmup: Share = 0.3
    """Share of the steps before the adversary starts."""
    adversary_every: Count = 4
    """A batch out of this many is made harder."""
    ascent_rounds: Count = 2
    """Ascent steps on a batch that is made harder."""
    ascent_step_size: Positive = 0.1
    """Length of one ascent step, in root-mean-square lengths of a row of the teacher's table."""
    class_weight: Weight = 1.0
    """Weight of the teacher's cross-entropy that holds a harder sample in its class."""
    hardened_capacity: CountOrZero = 2048
    """Most entries that harder versions are kept of; the oldest are forgotten first."""
    checkpoint_seconds: Weight = 60.0
    """Seconds between two checkpoints, the most that is lost when a machine goes; 0 makes one after every step."""
    log_every: Count = 20
    """Steps between metric records."""
    compile: bool = False
    """Compile the student's step with torch.compile (of use on a GPU)."""
    processes: CountOrZero = 0
    """Processes of a machine that share each batch; 0 takes one for every GPU (one on a CPU)."""


class Evaluation(Frozen):
    """How teacher and student are evaluated."""

    data: str = ""
    """Texts, with labels or without: a .csv, .tsv, .jsonl or .parquet file or s3://bucket/key, or hf://organisation/name[/configuration]; empty for none."""
    text_column: str = "text"
    """Column of the data that holds the text."""
    pair_column: str = ""
    """Column of the data that holds the second text of each pair; empty for a teacher that reads single texts."""
    label_column: str = ""
    """Column of the data that holds the label, by name or id; empty takes `label`, and without such a column the texts have no labels."""
    labels: str = ""
    """What labels of the data mean where their names differ from the teacher's: LABEL=CLASS,LABEL=CLASS with the names or ids of its classes."""
    quoting: Literal["one-line", "multi-line", "none"] = "one-line"
    """Quotes in a .csv or .tsv file: they enclose fields of one line, or fields that may hold line breaks, or are characters like others."""
    split: str = "test"
    """Split to read when the data is the name of a data set."""
    batch_size: Count = 64
    """Texts of one forward pass."""
    maximum_length: CountOrZero = 0
    """Tokens after which a text is cut; 0 takes what the models take."""
    pseudo_samples: Count = 1024
    """Held-out pseudo samples that agreement on real texts is predicted from when there are none."""
    latency_runs: Count = 50
    """Timed single-text forward passes of each model."""


class Gate(Frozen):
    """What a student must show before it is registered or promoted. A metric that is missing or not finite rejects."""

    evidence: Literal["none", "texts", "labels"] = "none"
    """What it must be judged on at least: no texts, texts without labels or labelled ones; a promotion asks for texts, unless models/NAME.yaml says less."""
    minimum_accuracy: Share = 0.0
    """Lowest accuracy of the student (subset accuracy, where a text can have several labels); 0 asks for none."""
    largest_drop: Share = 0.05
    """Most accuracy that the student may lose against the teacher; without labels minimum_agreement judges in its place."""
    champion_margin: Share = 0.01
    """Most accuracy, or without labels agreement, by which the student may be worse than the version that holds the stage, on the same data."""
    confidence_level: Share = 0.95
    """Confidence of the paired bootstrap interval of the difference from that version."""
    minimum_class_recall: Share = 0.0
    """Lowest recall of any class; 0 asks for none."""
    minimum_macro_f1: Share = 0.0
    """Lowest mean of the classes' F1; 0 asks for none."""
    minimum_micro_f1: Share = 0.0
    """Lowest F1 of all decisions together, of a teacher whose texts can have several labels; 0 asks for none."""
    minimum_agreement: Share = 0.8
    """Lowest agreement of the student with the teacher: on texts, or where there are none as it is predicted."""
    minimum_parity: Share = 0.9
    """Lowest share of the texts, or pseudo samples, on which the export gives the student's class; 0 asks for none."""
    largest_parity_difference: Share = 0.5
    """Most by which a probability of the export may differ from the student's on any of them; 0 sets no limit."""
    largest_export_drop: Share = 0.01
    """Most accuracy that the export may lose against the student, on labelled texts."""
    worth: Literal["ignore", "warn", "reject"] = "warn"
    """What becomes of a student that does not beat the teacher's own int8, which needs no data either: nothing, a warning, or a rejection."""
    worth_speedup: Weight = 2.0
    """How many times faster than the teacher's int8 makes a student worth it; either this or worth_compression is enough."""
    worth_compression: Weight = 3.0
    """How many times smaller than the teacher's int8 makes a student worth it."""
    largest_bytes: CountOrZero = 0
    """Most bytes of the student's weights on disk; 0 sets no budget."""
    largest_latency_seconds: Weight = 0.0
    """Longest median latency of one text, in seconds; 0 sets no budget."""


class Registry(Frozen):
    """Where students that passed are kept, and under which name."""

    location: str = "registry"
    """Registry: a folder or s3://bucket/prefix."""
    name: str = "student"
    """Name of the model in the registry."""
    stage: str = "staging"
    """Stage whose alias a run moves to the version that it made; production is moved by `asdfd promote` only."""
    require_signature: bool = False
    """Whether versions must be signed when they are stored, and their signatures verified when they are used."""


class Run(Frozen):
    """All parameters of one compression run; params.yaml holds the default ones."""

    seed: Seed = 0
    """Seed of everything that is drawn."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the models run; auto takes a GPU when there is one."""
    export: Literal["none", "onnx", "int8"] = "int8"
    """What is judged and registered of the student: an ONNX model with 8-bit weights (in float32 where those answer otherwise), one in float32, or itself."""
    teacher: Teacher = Teacher()
    synthesis: Synthesis = Synthesis()
    student: Student = Student()
    distillation: Distillation = Distillation()
    evaluation: Evaluation = Evaluation()
    gate: Gate = Gate()
    registry: Registry = Registry()

    @property
    def bank(self) -> Synthesis:
        """How the bank is made: as `synthesis` says, or as small as one can be where the student is the teacher itself and learns nothing from it."""
        if not self.student.is_teacher:
            return self.synthesis
        return self.synthesis.changed(samples=32, guessing="none", prior_text="", prior_model="")

    @model_validator(mode="after")
    def _fits_together(self) -> Run:
        narrow = f"student.width {self.student.width}: a narrower student has embeddings of its own and learns from tokens only"
        if self.student.width and not self.synthesis.holds_tokens:
            raise ValueError(f"{narrow}; set synthesis.initial to tokens and synthesis.guessing to none or replacement, or student.width to 0")
        if self.student.width and (self.distillation.adversary != "none" or self.distillation.selfsup_weight):
            raise ValueError(f"{narrow}; set distillation.adversary to none and distillation.selfsup_weight to 0, or student.width to 0")
        return self
