"""Write the tables of docs/benchmarks.md from the committed results.

python benchmarks/tables.py            # rewrites what stands between the marks of docs/benchmarks.md, and draws the cost curves
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import speed_plot
from serving_tables import serving_section
from speed_tables import speed_section
from vocabulary_tables import vocabulary_section
from worth_tables import worth_section

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
DATASETS = ("trec", "sst2", "banking77", "ag_news")
TUNED_ARMS = ("init-only", "gaussian", "uniform-tokens", "zipf-tokens", "static", "default", "footprint", "oracle-unigram", "with-data", "teacher-int8")
"""Arms on the teachers that were fine-tuned with all of their weights."""
ARMS = ("init-only", "gaussian", "uniform-tokens", "zipf-tokens", "asdfd", "default", "replacement", "prior-text", "with-data")
NOT_MEASURED = "Not measured yet. `python benchmarks/arms.py` does it, and `python benchmarks/tables.py` puts the tables here.\n"
STEPS = 200
"""Steps at which all arms are compared; records of more are those of longer runs."""


def main() -> None:
    write("arms", tables(json.loads((HERE / "results" / "arms_frozen_words.json").read_text())))
    write("footprint", tuned_section(HERE / "results" / "arms.json"))
    write("counts", counts_section(json.loads((HERE / "results" / "footprint_counts.json").read_text())))
    speed = json.loads((HERE / "results" / "speed.json").read_text())
    write("speed", speed_section(speed))
    write("serving", serving_section(json.loads((HERE / "results" / "serving.json").read_text())))
    write("vocabulary", vocabulary_section(json.loads((HERE / "results" / "vocabulary.json").read_text())))
    write("worth", worth_section(json.loads((HERE / "results" / "worth.json").read_text())))
    if "curves" in speed:
        speed_plot.draw(speed["curves"], speed_plot.PICTURE)


def tuned_section(results: Path) -> str:
    """The tables of the teachers that were fine-tuned with all of their weights, or that there are none."""
    return tables(json.loads(results.read_text()), TUNED_ARMS) if results.exists() else NOT_MEASURED


def counts_section(result: dict[str, Any]) -> str:
    """How far the counts that a footprint tells are from the true ones, a row for each data set; the last powers are those that all sets give together."""
    columns = ("training texts", "tokens", "general frequency", "distance of the move", "its shape too", "with powers of the other sets", "those powers")
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for name, found in result["of"].items():
        figures = [f"{found[way]:.2f}" for way in ("general frequency", "distance of the move", "shape of the move", "with those")]
        lines.append(f"| {name} | {found['tokens']:,} | {' | '.join(figures)} | {_powers(found['powers of the others'])} |")
    lines.append(f"| all together | | | | | | {_powers(result['together'])} |")
    return "\n".join(lines) + "\n"


def _powers(powers: Sequence[float]) -> str:
    return ", ".join(f"{power:.2f}" for power in powers)


def write(section: str, text: str) -> None:
    """Put a section between its marks on the page."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    before, rest = PAGE.read_text(encoding="utf-8").split(begin)
    PAGE.write_text(f"{before}{begin}\n{text}{end}{rest.split(end)[1]}", encoding="utf-8")


def tables(results: dict[str, Any], arms: Sequence[str] = ARMS) -> str:
    """Accuracy, share of with-data, and cost, as Markdown."""
    records, machine = [record for record in results["records"] if record["student_steps"] <= STEPS], results["machine"]
    where = ", ".join(f"{name} {value}" for name, value in machine.items())
    parts = [f"Machine: {where}; each run on {sorted({record['device'] for record in records})[0]}.\n"]
    parts.append(
        table("Final accuracy in percent (mean, ± standard deviation where there are several seeds, number of seeds in brackets)", records, accuracy_cell, arms)
    )
    parts.append(table("Share of the with-data student's accuracy, in percent", records, share_cell, arms))
    parts.append(table("Cost of synthesis and distillation: 10^12 floating-point operations / seconds", records, cost_cell, arms))
    longer = [record for record in results["records"] if record["student_steps"] > STEPS]
    if longer:
        parts.append(longer_table(longer, records, arms))
    return "\n".join(parts)


def table(title: str, records: Sequence[dict[str, Any]], cell, arms: Sequence[str]) -> str:
    """One table, arms down and data sets across; an empty cell was not run."""
    lines = [f"**{title}**", "", f"| arm | {' | '.join(DATASETS)} |", f"| --- |{' --- |' * len(DATASETS)}"]
    if cell is accuracy_cell:
        teachers = [next((f"{100 * r['teacher_accuracy']:.1f}" for r in records if r["dataset"] == dataset), "") for dataset in DATASETS]
        lines.append(f"| (teacher, 6 layers) | {' | '.join(teachers)} |")
    for arm in arms:
        lines.append(f"| {arm} | {' | '.join(cell(records, dataset, arm) for dataset in DATASETS)} |")
    return "\n".join(lines) + "\n"


def longer_table(longer: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]], arms: Sequence[str]) -> str:
    """Runs of more steps, each with its share of the with-data student of as many steps, and of that of the comparison above."""
    columns = ("data set", "arm", "steps", "seed", "accuracy, %", f"share of with-data at {STEPS} steps, %", "at as many steps, %", "seconds")
    lines = ["**More steps**", "", f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for record in sorted(longer, key=lambda r: (DATASETS.index(r["dataset"]), arms.index(r["arm"]), r["student_steps"], r["seed"])):
        dataset, accuracy, steps = record["dataset"], record["final_accuracy"], record["student_steps"]
        ceilings = (of(records, dataset, "with-data"), [other for other in of(longer, dataset, "with-data") if other["student_steps"] == steps])
        shares = [f"{100 * accuracy / mean(r['final_accuracy'] for r in ceiling):.1f}" if ceiling else "" for ceiling in ceilings]
        lines.append(f"| {dataset} | {record['arm']} | {steps} | {record['seed']} | {100 * accuracy:.1f} | {' | '.join(shares)} | {record['seconds']:.0f} |")
    return "\n".join(lines) + "\n"


def of(records: Sequence[dict[str, Any]], dataset: str, arm: str) -> list[dict[str, Any]]:
    """The records of one cell."""
    return [record for record in records if record["dataset"] == dataset and record["arm"] == arm]


def accuracy_cell(records: Sequence[dict[str, Any]], dataset: str, arm: str) -> str:
    found = [100 * record["final_accuracy"] for record in of(records, dataset, arm)]
    if not found:
        return ""
    return f"{mean(found):.1f} ± {stdev(found):.1f} ({len(found)})" if len(found) > 1 else f"{found[0]:.1f} (1)"


def share_cell(records: Sequence[dict[str, Any]], dataset: str, arm: str) -> str:
    found, ceiling = of(records, dataset, arm), of(records, dataset, "with-data")
    if not found or not ceiling:
        return ""
    return f"{100 * mean(r['final_accuracy'] for r in found) / mean(r['final_accuracy'] for r in ceiling):.1f}"


def cost_cell(records: Sequence[dict[str, Any]], dataset: str, arm: str) -> str:
    found = of(records, dataset, arm)
    return f"{mean(r['flops'] for r in found) / 1e12:.1f} / {mean(r['seconds'] for r in found):.0f}" if found else ""


if __name__ == "__main__":
    main()
