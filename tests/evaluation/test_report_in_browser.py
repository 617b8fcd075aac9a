"""The report in a real browser: whole without a network, without an error, readable on a phone and in the dark, not blank, and told to a screen reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.browser import Browser, running_browser
from tests.evaluation.test_report import HOSTILE, content

pytestmark = pytest.mark.slow

MANY = [f"intent number {number} with a rather long name" for number in range(77)]
PHONE, USUAL_PHONE, SMALL_PHONE, DESK = 400, 360, 320, 1280
TOO_WIDE = """
width =>
[...document.querySelectorAll('body *')]
  .filter(element => !element.closest('.scroll') && !element.closest('svg'))
  .filter(element => { const box = element.getBoundingClientRect(); return box.width > 0 && (box.right > width + 0.5 || box.left < -0.5) })
  .map(element => element.outerHTML.slice(0, 120))
"""
SMALLEST_TEXT = """
Math.min(...[...document.querySelectorAll('svg text')].map(text => {
  const scale = text.getScreenCTM()
  return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(scale.a, scale.b)
}))
"""
CHARTS = """
[...document.querySelectorAll('svg')].map(svg => {
  const box = svg.getBoundingClientRect()
  return {x: box.x, y: box.y + scrollY, width: box.width, height: box.height}
})
"""
OVERLAPPING = """
(() => {
  const covers = (one, other) => Math.min(one.right, other.right) - Math.max(one.left, other.left) > 1
    && Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 0.3 * Math.min(one.height, other.height)  // a line is higher than its digits
  const wrong = []
  for (const svg of document.querySelectorAll('svg')) {
    const frame = svg.getBoundingClientRect()
    const texts = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()])
    texts.forEach(([words, box], number) => {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1) wrong.push('cut: ' + words)
      texts.slice(number + 1).forEach(([others, other]) => { if (covers(box, other)) wrong.push('overlapping: ' + words + ' and ' + others) })
    })
  }
  const blocks = [...document.querySelectorAll('h1, h2, h3, p, .scroll, figure, summary')].map(one => [one.outerHTML.slice(0, 60), one.getBoundingClientRect()])
  blocks.forEach(([html, box], number) =>
    blocks.slice(number + 1).forEach(([others, other]) => { if (covers(box, other)) wrong.push('overlapping: ' + html + ' and ' + others) }))
  return wrong
})()
"""
"""What of the page, or of a drawing on it, lies over something else or is cut off."""
TOO_FAINT = """
least => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true})
  const shade = color => {
    canvas.clearRect(0, 0, 1, 1)
    canvas.fillStyle = color
    canvas.fillRect(0, 0, 1, 1)
    return [...canvas.getImageData(0, 0, 1, 1).data]
  }
  const bright = ([red, green, blue]) => [red, green, blue].map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4).reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0)
  const over = (front, back, opacity) => front.slice(0, 3).map((part, place) => part * opacity + back[place] * (1 - opacity))
  const paint = element => element instanceof SVGElement && element.tagName !== 'svg' ? 'fill' : 'backgroundColor'
  const wrong = []
  for (const element of document.querySelectorAll('body *')) {
    if (![...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())) continue
    if (!element.getClientRects().length || element.closest('style, title, desc, metadata, defs')) continue
    element.scrollIntoView({block: 'center', inline: 'center'})
    const box = element.getBoundingClientRect()
    const below = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2)
      .filter(one => one.tagName !== 'text' && !(element instanceof SVGElement && element.contains(one)))
    const painted = [...below].reverse().map(one => [one, getComputedStyle(one)])
      .filter(([one, style]) => style[paint(one)] !== 'none')
      .map(([one, style]) => [shade(style[paint(one)]), parseFloat(style.opacity) * (one instanceof SVGElement ? parseFloat(style.fillOpacity) : 1)])
    const back = painted.reduce((sum, [front, opacity]) => over(front, sum, opacity * front[3] / 255), [255, 255, 255])
    const style = getComputedStyle(element)
    const ink = shade(element instanceof SVGElement ? style.fill : style.color)
    const [low, high] = [bright(back), bright(over(ink, back, ink[3] / 255))].sort((one, other) => one - other)
    const contrast = (high + 0.05) / (low + 0.05)
    if (contrast < least) wrong.push(contrast.toFixed(2) + ' ' + element.tagName + ' ' + element.textContent.trim().slice(0, 60))
  }
  return wrong
}
"""
"""Every text whose contrast to what it stands on is less than asked for, as WCAG computes it."""
LEAST_CONTRAST = 4.5
"""Of text, for level AA of WCAG."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture(scope="module")
def pages(teacher_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report that `evaluate` wrote of a tiny student, and two that are hard to lay out."""
    from asdfd.evaluation.report import write_report

    folder = tmp_path_factory.mktemp("pages")
    write_report(folder / "many.html", content(MANY))
    write_report(folder / "hostile.html", content([*HOSTILE, "w" * 200], title="x" * 300))
    return {"evaluated": _evaluated(teacher_artifact, folder), "many": folder / "many.html", "hostile": folder / "hostile.html"}


def _evaluated(teacher: Path, folder: Path) -> Path:
    from asdfd import steps
    from asdfd.base.loading import load_run

    tiny = ("synthesis.samples=64", "synthesis.minimum_length=3", "synthesis.maximum_length=6", "synthesis.pool=64", "distillation.steps=12")
    small = ("distillation.batch_size=8", "distillation.log_every=1", "evaluation.pseudo_samples=32", "evaluation.latency_runs=2", "evaluation.batch_size=8")
    run = load_run(settings=[*tiny, *small])
    bank = steps.synthesize(run, teacher, folder / "bank").path
    student = steps.distill(run, teacher, bank, folder / "student").path
    return steps.evaluate(run, teacher, student, folder / "evaluation").path / "report.html"


@pytest.mark.parametrize("name", ["evaluated", "many", "hostile"])
def test_the_page_asks_for_nothing_and_complains_of_nothing(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name], width=DESK)
    assert browser.requests() == [pages[name].as_uri()]
    assert browser.complaints() == []
    assert browser.evaluate("document.readyState") == "complete"
    assert browser.evaluate("document.querySelectorAll('script').length") == 0


def test_what_would_be_wrong_is_seen(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    text = pages["evaluated"].read_text(encoding="utf-8")
    outside = '<img src="https://example.invalid/pixel.png"><div style="width: 900px; height: 1px"></div></main>'
    spoilt = tmp_path / "spoilt.html"
    spoilt.write_text(text.replace("</main>", outside), encoding="utf-8")
    browser.open(spoilt, width=PHONE)
    assert "Content Security Policy" in "".join(browser.complaints())  # the page's own policy keeps it from the network
    assert browser.evaluate(f"({TOO_WIDE})({PHONE})")
    spoilt.write_text(text.replace("Content-Security-Policy", "x-none").replace("</main>", outside), encoding="utf-8")
    browser.open(spoilt, width=DESK)
    assert "https://example.invalid/pixel.png" in browser.requests()
    assert browser.complaints()


@pytest.mark.parametrize("width", [SMALL_PHONE, USUAL_PHONE, PHONE, DESK])
@pytest.mark.parametrize("name", ["evaluated", "many", "hostile"])
def test_nothing_is_wider_than_the_screen(browser: Browser, pages: dict[str, Path], name: str, width: int) -> None:
    browser.open(pages[name], width=width)
    browser.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.evaluate(f"({TOO_WIDE})({width})") == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("innerWidth") == width  # a page that is too wide makes a phone zoom out


@pytest.mark.parametrize("name", ["evaluated", "many"])
def test_text_is_large_enough_on_a_phone(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name], width=PHONE)
    assert browser.evaluate("Math.min(...[...document.querySelectorAll('p, td, th, summary')].map(one => parseFloat(getComputedStyle(one).fontSize)))") >= 14
    assert browser.evaluate(SMALLEST_TEXT) >= 8


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_page_and_every_chart_show_something(browser: Browser, pages: dict[str, Path], tmp_path: Path, width: int, scheme: str) -> None:
    browser.open(pages["evaluated"], width=width, scheme=scheme)
    whole = _grey(browser.screenshot(tmp_path / "page.png"))
    assert whole.shape[1] == width
    assert whole.std() > 10
    assert (np.median(whole) > 200) == (scheme == "light")  # the background
    charts = browser.evaluate(CHARTS)
    assert charts
    for place in charts:
        assert place["width"] > 200
        chart = _grey(browser.screenshot(tmp_path / "chart.png", clip=place))
        ink = np.abs(chart - np.median(chart)) > 60
        assert 0.005 < ink.mean() < 0.8, place
        assert ink.any(axis=0).mean() > 0.5, place  # it is spread over its width


@pytest.mark.parametrize("width", [USUAL_PHONE, DESK])
@pytest.mark.parametrize("name", ["evaluated", "many", "hostile"])
def test_nothing_overlaps_and_nothing_is_cut(browser: Browser, pages: dict[str, Path], name: str, width: int) -> None:
    browser.open(pages[name], width=width)
    assert browser.evaluate("[...document.images].filter(image => !image.naturalWidth).length") == 0
    browser.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.evaluate(OVERLAPPING) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [USUAL_PHONE, DESK])
def test_text_stands_out_from_what_it_stands_on(browser: Browser, pages: dict[str, Path], width: int, scheme: str) -> None:
    browser.open(pages["evaluated"], width=width, scheme=scheme)
    browser.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.evaluate(f"({TOO_FAINT})({LEAST_CONTRAST})") == []


def test_what_overlaps_and_what_is_faint_is_seen(browser: Browser, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.html"
    texts = '<text y="20" fill="#999">grey</text><text y="22" x="4">one</text><text x="190" y="50">cut off</text>'
    svg = f'<svg width="200" height="60"><rect width="200" height="60" fill="#888"/>{texts}</svg>'
    spoilt.write_text(f'<!DOCTYPE html><p style="color: #bbb">faint</p><h2 style="margin-top: -2.5rem">over it</h2>{svg}', encoding="utf-8")
    browser.open(spoilt, width=DESK)
    assert [line.partition(":")[0] for line in browser.evaluate(OVERLAPPING)] == ["overlapping", "cut", "overlapping"]
    assert [line.split()[1:] for line in browser.evaluate(f"({TOO_FAINT})({LEAST_CONTRAST})")] == [["P", "faint"], ["text", "grey"]]


def test_a_blank_page_would_be_seen(browser: Browser, tmp_path: Path) -> None:
    blank = tmp_path / "blank.html"
    blank.write_text("<!DOCTYPE html><title>blank</title>", encoding="utf-8")
    browser.open(blank, width=PHONE)
    assert _grey(browser.screenshot(tmp_path / "blank.png")).std() == 0


@pytest.mark.parametrize("name", ["evaluated", "many"])
def test_every_chart_is_told_to_a_screen_reader(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name], width=PHONE)
    nodes: list[dict[str, Any]] = browser.call("Accessibility.getFullAXTree")["nodes"]
    shown = [node for node in nodes if not node.get("ignored")]
    names = [node["name"]["value"] for node in shown if node["role"]["value"] in ("img", "image", "graphics-document")]
    assert len(names) == browser.evaluate("document.querySelectorAll('svg').length") >= 2
    assert all(any(character.isdigit() for character in text) and len(text) > 20 for text in names)
    roles = {node["role"]["value"] for node in shown}
    assert {"main", "heading", "table", "rowheader", "columnheader"} <= roles
    assert browser.evaluate("document.documentElement.lang") == "en"


def _grey(picture: Path) -> np.ndarray:
    """Brightness of every pixel, 0 to 255."""
    with Image.open(picture) as image:
        return np.asarray(image.convert("L"), dtype=float)
