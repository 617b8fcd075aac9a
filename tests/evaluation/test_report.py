"""The report and the model card: whole, self-contained, escaped, the same bytes for the same content, and true to the numbers."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoTokenizer

from asdfd.base.config import Run
from asdfd.evaluation.plots import confusion_chart, recall_chart, training_charts
from asdfd.evaluation.report import PseudoSample, ReportContent, headline, report, write_report
from asdfd.models.model_card import ModelCardContent, model_card

HOSTILE = ["<script>alert(1)</script>", "--><img src=x onerror=alert(1)>", "$\\frac{", '"quoted" & co', "日本語 العربية", "two\nlines\x00"]
VOID = {"meta", "br", "link", "img", "input", "hr", "path", "use", "rect"}


def metrics(names: list[str], rows: int = 12, **changes: Any) -> dict[str, Any]:
    """A metrics.json on labelled text: of each class 12 texts, one of which the student takes for the next class."""
    count = len(names)
    matrix = [[rows - 1 if i == j else int(j == (i + 1) % count) for j in range(count)] for i in range(count)]
    per_class = [
        {"name": name, "support": rows} | {f"{role}_{what}": 0.9 - 0.001 * i for role in ("teacher", "student") for what in ("precision", "recall", "f1")}
        for i, name in enumerate(names)
    ]
    document = {
        "data": {"kind": "labelled_text", "name": "texts.csv", "digest": "ab" * 32, "rows": rows * count},
        **{"teacher_accuracy": 0.972, "student_accuracy": 0.951, "retention": 0.978, "agreement": 0.96, "mean_kl": 0.0421},
        **{"teacher_macro_f1": 0.97, "student_macro_f1": 0.95, "teacher_expected_calibration_error": 0.01, "student_expected_calibration_error": 0.03},
        **{"per_class": per_class, "confusion_matrix": matrix, "teacher_confusion_matrix": matrix},
    }
    return document | speed() | changes


def speed() -> dict[str, Any]:
    return {
        **{"teacher_parameters": 22_713_222, "student_parameters": 17_390_982, "teacher_bytes": 90_800_000, "student_bytes": 45_400_000},
        **{"teacher_latency_p50_seconds": 0.0123, "teacher_latency_p95_seconds": 0.0151, "teacher_throughput_per_second": 210.5},
        **{"student_latency_p50_seconds": 0.0062, "student_latency_p95_seconds": 0.0077, "student_throughput_per_second": 415.2},
        **{"compression": 2.0, "speedup": 1.98, "latency_device": "a <fast> processor", "latency_threads": 2, "latency_runs": 50, "latency_batch_size": 64},
    }


def pseudo_metrics(classes: int) -> dict[str, Any]:
    counts = [300] * classes
    return {
        "data": {"kind": "pseudo_samples", "rows": sum(counts)},
        **{"agreement_on_pseudo_samples": 0.931, "mean_kl_on_pseudo_samples": 0.11, "teacher_class_counts": counts},
    } | speed()


RECORDS = [
    {"step": 20 * i, "loss": 3.0 / i, "logit_loss": 2.0 / i, "hidden_loss": 0.8 / i, "selfsup_loss": 0.5, "agreement": 1 - 0.5 / i, "learning_rate": 4e-4 / i}
    | ({"selfsup_before": 0.4, "selfsup_after": 0.5 + 0.01 * i} if i % 4 == 0 else {"samples_per_second": None})
    for i in range(1, 30)
]


def content(names: list[str] | None = None, **changes: Any) -> ReportContent:
    names = names or ["billing", "praise", "other"]
    whole = ReportContent(
        title="Student of support-desk",
        metrics=metrics(names),
        label_names=names,
        layer_map=(1, 3, 5),
        teacher_layers=6,
        records=RECORDS,
        bank={"samples": 32000, "mean_confidence": 0.9312, "converged_share": 0.875, "class_balance": dict.fromkeys(names, 5333)},
        pseudo_samples=[PseudoSample(name, 0.93, f"{name} of the tokens </td>") for name in names],
        parameters=Run().model_dump(mode="json"),
        provenance={"teacher": "cd" * 32, "seed": "0", "torch": "2.13.0"},
    )
    return replace(whole, **changes)


@cache
def page_of(names: tuple[str, ...] = ("billing", "praise", "other")) -> str:
    """The report with these classes and a bold title, drawn once for all tests."""
    return report(content(list(names), title="<b>title</b>"))


class Page(HTMLParser):
    """Checks that every element is closed in order, and collects what the tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += " " + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def words(page: Page) -> str:
    return " ".join(page.text.split())


@pytest.mark.parametrize("names", [["no", "yes"], HOSTILE, [f"intent {i}" for i in range(77)]], ids=["2", "hostile", "77"])
def test_the_page_is_well_formed_and_needs_nothing_else(names: list[str]) -> None:
    html = page_of(tuple(names))
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    tags = {name for name, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "link", "object", "embed", "base", "form"}
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset", "action"):
                assert (value or "").startswith("#")
    assert not re.search(r"url\((?!#)|@import", html)
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    references = re.findall(r"url\(#([^)]+)\)", html) + [str(use["xlink:href"])[1:] for use in page.all("use")]
    assert references
    assert set(references) <= set(ids)


def test_every_chart_says_in_numbers_what_it_shows() -> None:
    drawings = Page(page_of()).all("svg")
    assert len(drawings) == 3 + 4  # no record holds a speed, so its chart is left out
    for drawing in drawings:
        assert drawing["role"] == "img"
        assert re.search(r"\d", drawing["aria-label"] or "")
        assert "width" not in drawing
        assert drawing["viewbox"]
    labels = [drawing["aria-label"] for drawing in drawings]
    assert labels[0] == (
        "Confusion matrix of the student over 3 classes: 33 of 36 texts on the diagonal; "
        "most often billing taken for praise 1 times; praise taken for other 1 times; other taken for billing 1 times"
    )
    assert labels[2] == "Milliseconds for one text, teacher and student: median 12.3 and 6.2; 95th percentile 15.1 and 7.7"
    assert "total from 3 at step 20 to 0.103 at step 580" in str(labels[3])


def test_hostile_names_and_texts_are_shown_as_they_are_and_do_nothing() -> None:
    html = page_of(tuple(HOSTILE))
    page = Page(html)
    assert "<script>alert(1)</script>" in words(page)  # as text
    assert "<b>title</b>" in words(page)
    assert "a <fast> processor" in words(page)
    assert "of the tokens </td>" in words(page)
    assert not page.all("b")
    assert html.count("<!--") == 0


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    before = page_of(tuple(HOSTILE))
    write_report(tmp_path / "report.html", copy.deepcopy(content(HOSTILE, title="<b>title</b>")))
    assert (tmp_path / "report.html").read_bytes() == before.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b", before)


def test_the_numbers_are_on_the_page() -> None:
    text = words(Page(page_of()))
    assert (
        "The student, with 3 of 6 layers, keeps 97.8 % of its teacher's accuracy: 95.1 % against 97.2 % on 36 texts of texts.csv. "
        "It is 2.0 times smaller and 2.0 times faster." in text
    )
    assert "Accuracy 97.2 % 95.1 %" in text
    assert "Weights on disk 90.80 MB 45.40 MB" in text
    assert "Time of one text, median 12.3 ms 6.2 ms" in text
    assert "Mean confidence 93.1 %" in text
    assert "Class balance billing 5,333" in text
    assert "distillation.steps 2000" in text
    assert "Up to step 1,600 each layer learned by itself" in text
    assert "learned by itself" not in words(Page(report(content(layer_map=(5,)))))
    assert "began as the teacher's layers 1, 3, 5" in text
    assert "not accuracy on text" not in text


def test_without_labelled_texts_the_page_says_so_and_shows_no_accuracy() -> None:
    page = Page(report(content(metrics=pseudo_metrics(3))))
    text = words(page)
    assert "The student, with 3 of 6 layers, gives its teacher's class on 93.1 % of 900 held-out pseudo samples." in text
    assert "Judged without texts, on 900 held-out pseudo samples: what they tell of real texts is not known, and accuracy is not either." in text
    assert "Accuracy" not in text
    assert "Recall" not in text
    assert "class pseudo samples billing 300 praise 300 other 300" in text
    assert len(page.all("svg")) == 1 + 4


def test_a_page_of_little_content_is_whole() -> None:
    bare = ReportContent("Bare", pseudo_metrics(2), ["no", "yes"], (0,), 2)
    page = Page(report(bare))
    assert len(page.all("h2")) == 3  # the comparison, the classes of the pseudo samples, how it was made
    assert not page.all("details")


def test_headline_of_a_student_that_is_slower_and_of_a_teacher_that_is_never_right() -> None:
    slower = content(["no", "yes"], metrics=metrics(["no", "yes"], compression=1.0, speedup=0.8))
    assert headline(slower).endswith("It is 1.0 times smaller and 1.2 times slower.")
    never = content(
        ["no", "yes"], metrics=metrics(["no", "yes"], retention=None, retention_missing="the teacher's accuracy is 0", teacher_accuracy=0.0), records=()
    )
    assert "with 3 of 6 layers, has an accuracy: 95.1 % against 0.0 %" in headline(never)
    assert "Retention (student accuracy / teacher accuracy) the teacher's accuracy is 0" in words(Page(report(never)))


def test_classes_without_texts_have_no_recall() -> None:
    document = metrics(["no", "yes"])
    document["per_class"][1]["support"] = 0
    assert "yes 0 – – – – – –" in words(Page(report(content(["no", "yes"], metrics=document, records=()))))
    assert "yes" not in recall_chart(document["per_class"]).description


def test_of_many_classes_the_chart_shows_where_the_student_loses_most() -> None:
    rows = [{"name": f"intent {i}", "support": 3, "teacher_recall": 0.9, "student_recall": 0.9 - 0.01 * i} for i in range(40)]
    chart = recall_chart(rows)
    assert chart.title == "Recall of the 15 of 40 classes where the student loses most"
    assert "intent 39 0.90 and 0.51; intent 38" in chart.description
    assert "intent 25 " in chart.description
    assert "intent 24 " not in chart.description
    assert chart.svg.count("intent ") - chart.description.count("intent ") == 15  # one tick each
    assert recall_chart(rows[:30]).description.count("intent ") == 30


def test_a_confusion_matrix_of_many_classes_has_no_names_and_of_some_no_numbers() -> None:
    def texts(count: int) -> list[str]:
        matrix = [[7000 + i if i == j else 0 for j in range(count)] for i in range(count)]
        return re.findall(r"<text[^>]*>([^<]*)</text>", confusion_chart(matrix, [f"name-{i}" for i in range(count)]).svg)

    assert {"7001", "name-1"} <= set(texts(2))
    assert "7001" not in texts(20)
    assert "name-19" in texts(20)
    assert not [text for text in texts(77) if text.startswith(("name", "70")) and text != "70"]  # 70 is a tick
    assert "student (number of the class)" in texts(77)


def test_training_charts_take_what_the_records_hold() -> None:
    assert training_charts([]) == []
    assert training_charts([{"step": 1.0, "grad": 3.0}]) == []
    (chart,) = training_charts([{"step": 1, "loss": 2.0}, {"step": 2, "loss": None}, {"step": 3, "loss": float("inf")}, {"step": 4, "loss": 0.0}])
    assert chart.description == "Losses: total from 2 at step 1 to 0 at step 4"


CARD = ModelCardContent(
    teacher_reference="hf://organisation/a_teacher@v1",
    teacher_digest="ef" * 32,
    architecture="bert",
    label_names=["billing", "a|b", "<script>x</script>", "two\nlines"],
    layer_map=(1, 3, 5),
    teacher_layers=6,
    maximum_length=32,
    parameters={"synthesis": {"samples": 32000, "prior": "zipf"}, "distillation": {"steps": 1000}},
    versions={"torch": "2.13.0"},
)


def front_matter(card: str) -> dict[str, Any]:
    _, head, _ = card.split("---\n", 2)
    return yaml.safe_load(head)


def test_the_card_says_what_the_model_is_and_how_it_was_made() -> None:
    card = model_card(CARD)
    assert front_matter(card) == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["distillation", "data-free"],
        "base_model": "organisation/a_teacher",
    }
    assert "**no training data was used**" in card
    assert "student layers 0 to 2 began as teacher layers 1, 3, 5" in card
    assert '("teacher"; bert)' in card
    assert "| synthesis.prior | zipf |" in card
    assert "Versions: torch 2.13.0." in card
    assert "ef" * 32 in card
    assert "It was not evaluated" in card
    assert model_card(copy.deepcopy(CARD)) == card


def test_the_card_escapes_names() -> None:
    card = model_card(CARD)
    assert "| Classes | billing, a\\|b, &lt;script&gt;x&lt;/script&gt;, two lines |" in card
    assert "<script>" not in card


@pytest.mark.parametrize("reference", ["/home/someone/models/teacher", "s3://bucket/teacher", "folder:" + "12" * 32])
def test_the_card_of_a_teacher_that_is_not_on_the_hub_names_its_digest_only(reference: str) -> None:
    card = model_card(replace(CARD, teacher_reference=reference))
    assert "base_model" not in front_matter(card)
    assert reference not in card
    assert "ef" * 32 in card


def test_the_card_tells_accuracy_and_agreement_on_pseudo_samples_apart() -> None:
    with_text = model_card(replace(CARD, metrics=metrics(["no", "yes"])))
    assert "| Accuracy on texts.csv (24 texts) | 0.9510 |" in with_text
    without = model_card(replace(CARD, metrics=pseudo_metrics(2)))
    assert "| Fidelity: agreement with the teacher on 600 held-out pseudo samples (not accuracy) | 0.9310 |" in without
    assert "| Accuracy" not in without


def test_the_card_s_code_runs(tmp_path: Path, teacher_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", model_card(CARD), flags=re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FOLDER_OR_NAME_OF_THIS_MODEL").symlink_to(teacher_folder)
    results: dict[str, Any] = {}
    exec(blocks[0], results)
    exec(blocks[1], results)
    (answer,) = results["classify"]("A text to classify.")
    assert answer["label"] in ("complaint", "praise", "question")
    assert answer["label"] == results["model"].config.id2label[results["logits"].argmax(-1).item()]
    assert isinstance(results["tokenizer"], type(AutoTokenizer.from_pretrained(teacher_folder)))
