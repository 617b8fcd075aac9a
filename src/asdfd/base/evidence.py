"""What an evaluation rests on, and so what is known: labelled texts, texts without labels, or no texts.

Report, card, terminal, gate and registry say it in these words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Level = Literal["none", "texts", "labels"]
LEVELS: tuple[Level, ...] = ("none", "texts", "labels")
"""Each tells more than the one before."""
LABELLED, UNLABELLED, PSEUDO = "labelled_text", "unlabelled_text", "pseudo_samples"
"""What a metrics.json calls its data (`data.kind`)."""
OF_KIND: Mapping[str, Level] = {PSEUDO: "none", UNLABELLED: "texts", LABELLED: "labels"}
TITLES: Mapping[Level, str] = {"none": "no texts", "texts": "texts without labels", "labels": "labelled texts"}
INTERVAL = 0.9
"""Confidence of every interval that stands beside a figure."""


def level_of(metrics: Mapping[str, Any]) -> Level:
    """What the evaluation of a metrics.json rests on; nothing, where it does not say."""
    data = metrics.get("data")
    return OF_KIND.get(str(data.get("kind")), "none") if isinstance(data, Mapping) else "none"


def statement(metrics: Mapping[str, Any]) -> str:
    """What the evaluation of a metrics.json rests on and what is known from it, in one sentence."""
    rows = f"{metrics['data']['rows']:,}" if "rows" in metrics.get("data", {}) else "some"
    match level_of(metrics):
        case "labels":
            return f"Judged on {rows} labelled texts."
        case "texts":
            return f"Judged on {rows} texts without labels, by fidelity to the teacher: how often the student or its teacher is right is not known."
        case _ if metrics.get("predicted_agreement") is not None:
            return f"Judged without texts: fidelity to the teacher on real texts is predicted from {rows} held-out pseudo samples, and accuracy is not known."
        case _:
            return f"Judged without texts, on {rows} held-out pseudo samples: what they tell of real texts is not known, and accuracy is not either."
