"""Draw the run form that Kubeflow's user interface makes of the compiled pipeline: its parameters with their types, defaults and descriptions.

python tools/render_run_form.py                   writes docs/images/run-form.png (needs Chromium)
python tools/render_run_form.py --html form.html  writes the page it is drawn from
"""

from __future__ import annotations

import argparse
import html
import io
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from asdfd.base.run_form import fields
from asdfd.kubeflow.compiled import Compiled, read_compiled

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "run-form.png"
WIDTH = 1200
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
STYLE = """
body { font: 13px/1.35 sans-serif; color: #202124; background: white; margin: 20px 28px; columns: 2; column-gap: 36px; }
header { column-span: all; border-bottom: 1px solid #dadce0; margin-bottom: 12px; }
h1 { font-size: 20px; margin: 0 0 4px; } p { margin: 0 0 10px; }
h2 { font-size: 15px; margin: 12px 0 6px; break-after: avoid; }
label { display: block; break-inside: avoid; margin: 0 0 9px; }
input { display: block; box-sizing: border-box; width: 100%; font: 13px monospace; padding: 3px 7px; border: 1px solid #9aa0a6; border-radius: 4px; }
b { font-weight: 600; } i { font-style: normal; color: #5f6368; } small { color: #5f6368; font-size: 11.5px; }
"""


def page(compiled: Compiled) -> str:
    """The run form as HTML: the parameters of each section of params.yaml together, then those that say where tasks run."""
    sections = {field.name: field.path[0] if len(field.path) > 1 else "run" for field in fields()}
    order = {field.name: place for place, field in enumerate(fields())}
    names = sorted(compiled.parameters, key=lambda name: (order.get(name, len(order)), name))
    parts = [f"<header><h1>Start a run: {html.escape(compiled.name)}</h1><p>{html.escape(compiled.description)}</p></header>"]
    for section, group in groupby(names, key=lambda name: sections.get(name, "cluster")):
        parts.append(f"<h2>{html.escape(section)}</h2>")
        parts += [row(name, compiled.parameters[name]) for name in group]
    head = f'<meta charset="utf-8"><title>{html.escape(compiled.name)}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def row(name: str, parameter: Mapping[str, Any]) -> str:
    """One field of the form."""
    kind = parameter["parameterType"].removeprefix("NUMBER_").lower()
    default = parameter.get("defaultValue", "")
    if kind == "integer":
        default = int(default)
    shown = default if isinstance(default, str) else json.dumps(default)
    told = html.escape(parameter.get("description", ""))
    return f'<label><b>{html.escape(name)}</b> <i>{kind}</i><input value="{html.escape(str(shown), quote=True)}"><small>{told}</small></label>'


def draw(text: str, picture: Path) -> None:
    """Draw a page to its full height."""
    from PIL import Image, ImageChops

    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        raise SystemExit("render_run_form: Chromium is missing; on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        source, shot = Path(folder) / "form.html", Path(folder) / "form.png"
        source.write_text(text, encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},4000"]
        subprocess.run([program, *options, f"--screenshot={shot}", source.as_uri()], check=True, capture_output=True, timeout=300)
        image = Image.open(io.BytesIO(shot.read_bytes())).convert("RGB")
    box = ImageChops.difference(image, Image.new("RGB", image.size, "white")).getbbox()
    if box is None:
        raise SystemExit("render_run_form: the picture is blank")
    picture.parent.mkdir(parents=True, exist_ok=True)
    image.crop((0, 0, WIDTH, box[3] + 16)).quantize(32).save(picture, optimize=True)


def main() -> None:
    """Write the picture or the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--html", type=Path, help="write the page here instead of the picture")
    arguments = parser.parse_args()
    text = page(read_compiled(ROOT / "pipelines" / "compress.yaml"))
    if arguments.html:
        arguments.html.write_text(text, encoding="utf-8")
    else:
        draw(text, PICTURE)


if __name__ == "__main__":
    main()
