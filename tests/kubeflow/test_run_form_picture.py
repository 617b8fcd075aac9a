"""The picture of the run form in the documentation is drawn from a page that shows every parameter of the compiled pipeline."""

from __future__ import annotations

import html
import re
import runpy
from pathlib import Path

from asdfd.kubeflow.compiled import read_compiled

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_shows_every_parameter_once_with_its_default_and_description() -> None:
    compiled = read_compiled(ROOT / "pipelines" / "compress.yaml")
    text = runpy.run_path(str(ROOT / "tools" / "render_run_form.py"))["page"](compiled)
    shown = re.findall(r'<b>(\w+)</b> <i>(\w+)</i><input value="([^"]*)"><small>([^<]*)</small>', text)
    assert sorted(name for name, *_ in shown) == sorted(compiled.parameters)
    values = {name: html.unescape(value) for name, _, value, _ in shown}
    assert (values["synthesis_samples"], values["distillation_learning_rate"], values["node_selector"]) == ("64000", "0.0008", "{}")
    assert [name for name, _, _, told in shown if html.unescape(told) != compiled.parameters[name]["description"]] == []


def test_the_committed_picture_is_not_blank_and_small_enough_for_a_page() -> None:
    from PIL import Image

    path = ROOT / "docs" / "images" / "run-form.png"
    with Image.open(path) as image:
        colours = image.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    assert len(colours) > 4
    assert path.stat().st_size < 200_000
