"""The committed results: complete, and the page shows exactly them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tables
from serving import verdict_of
from serving_tables import WAYS, serving_section
from vocabulary_tables import vocabulary_section
from worth_tables import PICTURES, worth_section

from asdfd.method.prior import RANK_POWER
from asdfd.models.footprint import LENGTH_POWER, MOVE_POWER, PEAK_POWER

FOLDER = Path(tables.__file__).parent / "results"
RESULTS = json.loads((FOLDER / "arms_frozen_words.json").read_text())
FIELDS = {"dataset", "arm", "seed", "student_layers", "student_steps", "final_accuracy", "teacher_accuracy", "seconds", "flops", "device"}


def test_every_arm_was_run_on_every_data_set_at_equal_steps() -> None:
    compared = [record for record in RESULTS["records"] if record["student_steps"] <= tables.STEPS]
    cells = {(record["dataset"], record["arm"]) for record in compared}
    assert cells == {(dataset, arm) for dataset in tables.DATASETS for arm in tables.ARMS}
    assert len({record["student_steps"] for record in compared if record["arm"] != "init-only"}) == 1
    assert all(set(record) == FIELDS and 0 < record["final_accuracy"] <= 1 for record in RESULTS["records"])
    assert RESULTS["machine"]["torch"]


def test_the_page_shows_the_committed_results() -> None:
    page = tables.PAGE.read_text(encoding="utf-8")
    assert tables.tables(RESULTS) in page
    assert f"<!-- footprint: begin -->\n{tables.tuned_section(FOLDER / 'arms.json')}<!-- footprint: end -->" in page


def test_the_page_shows_how_fast_a_student_is_served() -> None:
    result = json.loads((FOLDER / "serving.json").read_text())
    assert f"<!-- serving: begin -->\n{serving_section(result)}<!-- serving: end -->" in tables.PAGE.read_text(encoding="utf-8")
    assert set(result["median_of_rounds"]) == set(WAYS)


DROP = {"check": "largest_drop", "limit": 0.05}
VERDICTS: list[tuple[dict[str, object], str]] = [
    ({"passed": False, "reasons": ["loses 0.2000"], "checks": [DROP]}, "rejects what would be served: loses 0.2000"),
    ({"passed": True, "checks": [{"check": "minimum_agreement", "limit": 0.8}]}, "saw no labelled texts"),
]


@pytest.mark.parametrize(("verdict", "line"), VERDICTS)
def test_what_the_gate_did_not_let_through_by_its_accuracy_is_not_measured(verdict: dict[str, object], line: str, tmp_path: Path) -> None:
    (tmp_path / "verdict").mkdir()
    file = tmp_path / "verdict" / "verdict.json"
    file.write_text(json.dumps({"judged": "int8 export", **verdict}))
    with pytest.raises(SystemExit, match=line):
        verdict_of(tmp_path)
    file.write_text(json.dumps({"judged": "int8 export", "passed": True, "checks": [DROP]}))
    assert verdict_of(tmp_path) == {"judged": "int8 export", "largest_drop": 0.05}


def test_the_rule_is_told_with_the_accuracy() -> None:
    result = json.loads((FOLDER / "serving.json").read_text())
    rule = {"judged": "int8 export", "largest_drop": 0.05, "drop": 0.115, "holds": False}
    last = serving_section({**result, "rule": rule}).splitlines()[-1]
    assert last == "The gate let the int8 export through; its largest drop, 5.0 points, does not hold on these texts."


def test_the_page_shows_what_fewer_words_cost_and_save() -> None:
    records = json.loads((FOLDER / "vocabulary.json").read_text())
    assert f"<!-- vocabulary: begin -->\n{vocabulary_section(records)}<!-- vocabulary: end -->" in tables.PAGE.read_text(encoding="utf-8")
    assert {record["dataset"] for record in records} == set(tables.DATASETS)
    for record in records:
        for model in (record["teacher"], record["student"]):
            assert model["int8_bytes"][1] < model["int8_bytes"][0]
            assert model["unknown_tokens"][1] <= model["unknown_tokens"][0], "no text is less known"


def test_the_page_shows_how_far_told_counts_are_from_true_ones() -> None:
    result = json.loads((FOLDER / "footprint_counts.json").read_text())
    assert f"<!-- counts: begin -->\n{tables.counts_section(result)}<!-- counts: end -->" in tables.PAGE.read_text(encoding="utf-8")
    assert tuple(result["powers"].values()) == (RANK_POWER, MOVE_POWER, PEAK_POWER, LENGTH_POWER), "run benchmarks/footprint_counts.py again"
    for found in result["of"].values():
        assert found["with those"] < found["distance of the move"], "also by powers that the data set had no part in"


def test_tables_of_some_arms_show_those_and_no_longer_runs_where_there_are_none(tmp_path: Path) -> None:
    results = {"machine": {"torch": "1"}, "records": [record for record in RESULTS["records"] if record["student_steps"] == tables.STEPS]}
    (tmp_path / "arms.json").write_text(json.dumps(results))
    text = tables.tuned_section(tmp_path / "arms.json")
    assert [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| default") or line.startswith("| footprint")] == [
        *("| default", "| footprint") * 3
    ]
    assert "replacement" not in text
    assert "More steps" not in text
    assert tables.tuned_section(tmp_path / "none.json") == tables.NOT_MEASURED


def test_cells_by_hand() -> None:
    records = [
        {"dataset": "trec", "arm": "default", "final_accuracy": 0.8, "flops": 2e12, "seconds": 30.0},
        {"dataset": "trec", "arm": "default", "final_accuracy": 0.9, "flops": 4e12, "seconds": 50.0},
        {"dataset": "trec", "arm": "with-data", "final_accuracy": 0.95, "flops": 1e12, "seconds": 9.0},
    ]
    assert tables.accuracy_cell(records, "trec", "default") == "85.0 ± 7.1 (2)"
    assert tables.share_cell(records, "trec", "default") == f"{100 * 0.85 / 0.95:.1f}"
    assert tables.cost_cell(records, "trec", "default") == "3.0 / 40"
    assert tables.accuracy_cell(records, "sst2", "default") == ""
    assert tables.share_cell(records, "trec", "asdfd") == ""
    longer = [
        {**records[0], "student_steps": 2000, "seed": 0, "final_accuracy": 0.9215, "seconds": 600.0},
        {**records[2], "student_steps": 2000, "seed": 0, "final_accuracy": 0.97},
    ]
    assert tables.longer_table(longer, records, tables.ARMS).splitlines()[4:] == [
        "| trec | default | 2000 | 0 | 92.2 | 97.0 | 95.0 | 600 |",
        "| trec | with-data | 2000 | 0 | 97.0 | 102.1 | 100.0 | 9 |",
    ]


def test_the_table_of_the_readme_is_that_of_the_results() -> None:
    rows = [line.split("|")[1:-1] for line in (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    shown = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows}
    records, worth = (json.loads((FOLDER / name).read_text()) for name in ("arms.json", "worth.json"))

    def measured(dataset: str, role: str) -> str:
        metrics = worth[dataset]["metrics"]
        accuracy, size, time = (metrics[f"{role}_{figure}"] for figure in ("accuracy", "bytes", "one_thread_latency_p50_seconds"))
        return f"{100 * accuracy:.1f} %, {size / 1e6:.1f} MB, {1000 * time:.1f} ms"

    for place, dataset in enumerate(("trec", "banking77")):
        ceiling = [100 * record["final_accuracy"] for record in tables.of(records["records"], dataset, "with-data") if record["student_steps"] == 1000]
        assert shown["teacher (MiniLM-L6)"][place] == measured(dataset, "teacher")
        assert shown["its 8-bit version, which a student has to beat"][place] == measured(dataset, "teacher_int8")
        assert shown["student in 8 bits, **without data**"][place] == measured(dataset, "export")
        assert shown["a student distilled on the real training texts, 1,000 steps"][place] == f"{sum(ceiling) / len(ceiling):.1f} %"


def test_the_page_shows_what_runs_end_with() -> None:
    result = json.loads((FOLDER / "worth.json").read_text())
    assert f"<!-- worth: begin -->\n{worth_section(result)}<!-- worth: end -->" in tables.PAGE.read_text(encoding="utf-8")
    for name, run in result.items():
        costs = (f"{1e-6 * run['metrics']['export_bytes']:.3g} MB", f"{1e3 * run['metrics']['export_one_thread_latency_p50_seconds']:.3g} ms")
        for picture, cost in zip(PICTURES, costs, strict=True):
            assert cost in (tables.PAGE.parent / "images" / f"{name}-{picture}.svg").read_text(encoding="utf-8")
