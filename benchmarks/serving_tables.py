"""The part of docs/benchmarks.md that tells how fast a student is served, from its committed result."""

from __future__ import annotations

from typing import Any

WAYS = {
    "pipeline": "teacher in the transformers pipeline, text by text",
    "pipeline, batches": "the same, in batches of 32",
    "server, one client": "`asdfd serve`, one client, a text a request",
    "server": "`asdfd serve`, 16 clients, a text a request",
    "server, requests of several texts": "`asdfd serve`, 4 clients, 32 texts a request",
}
"""What was measured, in the order of the table; the quantiles of a way without them are left empty."""


def serving_section(result: dict[str, Any]) -> str:
    """The tables, as Markdown."""
    machine = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result["machine"].items())
    what = f"{result['texts']} test texts of {result['dataset']}, {len(result['rounds'])} rounds"
    lines = [f"{what}, {result['threads']} thread(s) for the pipeline and as many for the server; {machine}.", ""]
    lines += ["| | texts in a second | p50 of a request, ms | p99, ms |", "| --- | ---: | ---: | ---: |"]
    for way, title in WAYS.items():
        figures = result["median_of_rounds"][way]
        quantiles = (f"{1000 * figures[name]:.1f}" if name in figures else "" for name in ("p50_seconds", "p99_seconds"))
        lines.append(f"| {title} | {figures['texts_per_second']:,.0f} | {' | '.join(quantiles)} |")
    lines += ["", "| ratio, median of the rounds | |", "| --- | ---: |"]
    lines += [f"| {name} | {value:.1f} |" for name, value in result["ratios"].items()]
    accuracy = result["accuracy"]
    lines += ["", f"Accuracy on these texts: the teacher's {100 * accuracy['teacher']:.1f} %, of what is served {100 * accuracy['served']:.1f} %."]
    if rule := result.get("rule"):  # the committed result may be older than the rule
        holds = "holds" if rule["holds"] else "does not hold"
        lines += [f"The gate let the {rule['judged']} through; its largest drop, {100 * rule['largest_drop']:.1f} points, {holds} on these texts."]
    return "\n".join(lines) + "\n"
