"""README.md of a student: the model card that the Hugging Face hub shows and that tells whoever finds the folder what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from asdfd import __version__
from asdfd.base.evidence import level_of, statement
from asdfd.base.figures import FIGURES, choices, judged_role, read, role_title


@dataclass(frozen=True)
class ModelCardContent:
    """Everything on the card."""

    teacher_reference: str
    """hf://organisation/name[@revision], or another reference; only the hub's is printed, since a path says nothing elsewhere."""
    teacher_digest: str
    architecture: str
    """Family of the model, as config.json names it."""
    label_names: Sequence[str]
    layer_map: Sequence[int]
    """Teacher layer, from 0, of each student layer."""
    teacher_layers: int
    maximum_length: int
    """Tokens of the longest pseudo sample, special tokens not counted."""
    parameters: Mapping[str, Mapping[str, Any]]
    """Options that decided the student: section to name to value."""
    metrics: Mapping[str, Any] | None = None
    """The content of metrics.json where the student was evaluated."""
    drawings: Sequence[tuple[str, str]] = ()
    """Titles and names of the drawings that lie beside the card."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries that it was made with."""
    declared_source: str = ""
    """What the pseudo samples were made from beside the teacher; empty where there was nothing else."""
    footprint: Mapping[str, Any] = field(default_factory=dict)
    """What the teacher's weights reveal of its training texts (`Footprint.facts`); empty where its public encoder was not named."""
    hidden_size: int = 0
    """The student's, in numbers of a hidden state."""
    teacher_hidden_size: int = 0
    pairs: bool = False
    """Whether it reads pairs of texts."""
    dtype: str = "float32"
    """The type that its weights are saved in."""
    longest_input: int = 0
    """Tokens, special ones counted, after which a text has to be cut; 0 where the card does not say."""
    oldest_version: str = ""
    """The oldest version of transformers that loads it; empty where the card does not say."""
    several: bool = False
    """Whether a text can have several labels."""
    vocabulary: Mapping[str, Any] = field(default_factory=dict)
    """Facts about the words that it has (`method.vocabulary`); empty where they are the teacher's."""


def model_card(content: ModelCardContent) -> str:
    """The card as Markdown with its YAML head. It holds no date and no path: the same content gives the same text."""
    import yaml

    from asdfd.base.templating import environment

    base_model = content.teacher_reference.removeprefix("hf://").partition("@")[0] if content.teacher_reference.startswith("hf://") else None
    head: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-classification", "tags": ["distillation"]}
    if not content.declared_source:
        head["tags"].append("data-free")
    if base_model:
        head |= {"base_model": base_model}
    templates = environment()
    templates.filters["cell"] = _cell
    card = templates.get_template("model_card.md.j2").render(
        head=yaml.safe_dump(head, sort_keys=False, allow_unicode=True),
        base_model=base_model,
        revision=content.teacher_reference.partition("@")[2] if base_model else "",
        card=content,
        made_by=f"asdfd {__version__}",
        options=[(f"{section}.{name}", value) for section, values in content.parameters.items() for name, value in values.items()],
        metrics=_metrics(content.metrics),
        evidence=statement(content.metrics) if content.metrics else "",
        labelled=level_of(content.metrics or {}) == "labels",
        choices=choices(content.metrics or {}),
        served=role_title(judged_role(content.metrics or {}), content.metrics or {}),
    )
    return re.sub(r"\n{3,}", "\n\n", card)


def _metrics(metrics: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """(what, value) of an evaluation, empty where there was none."""
    if metrics is None:
        return []
    data = metrics["data"]
    texts = "texts" if level_of(metrics) == "labels" else "texts without labels"
    on = f" on {data['name']} ({data['rows']} {texts})" if "name" in data else f" on {data['rows']} held-out pseudo samples (not accuracy)"
    rows: list[tuple[str, str]] = []
    for figure in FIGURES:
        for role in ("student", "teacher") if figure.of == "each model" else ("student",):
            value = metrics.get(figure.of_role(role)) if figure.on != "anything" else None
            if value is not None:
                whose = " of the teacher" if role == "teacher" else ""
                where = f" from {data['rows']} held-out pseudo samples" if figure.name.startswith("predicted") else on
                title = figure.titled(metrics).removesuffix(" on pseudo samples")
                rows.append((f"{title}{whose}{where}", read(figure, metrics, role, figure.unit.exact.format)))
    return rows


def _cell(value: Any) -> str:
    """A value inside a Markdown table or line: on one line, and no character of it is markup. HTML is escaped by the template."""
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", " ".join(str(value).split()))
