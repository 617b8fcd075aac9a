"""The table of vocabulary.py on docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def vocabulary_section(records: Sequence[dict[str, Any]]) -> str:
    """A row for each model: tokens, size as int8, accuracy with all words and with fewer, and how many answers are equal."""
    columns = (
        "data set, validation texts",
        "model",
        "tokens kept",
        "int8, MB",
        "accuracy, %",
        "equal answers, %",
        "on drawn texts, %",
        "tokens of the texts outside the training texts, %",
    )
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for record in records:
        for role, model in (("teacher", "teacher"), ("student", f"3-layer student, {record['student_steps']} steps")):
            one = record[role]
            cells = (
                f"{record['dataset']}, {record['rows']:,}",
                model,
                f"{one['tokens_kept']:,} of {record['tokens']:,}",
                " -> ".join(f"{size / 1e6:.1f}" for size in one["int8_bytes"]),
                " -> ".join(f"{100 * share:.1f}" for share in one["accuracy"]),
                f"{100 * one['equal_answers']:.1f}",
                f"{100 * one['equal_answers_on_drawn_texts']:.1f}",
                f"{100 * record['share_of_other_tokens']:.1f}",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
