"""What mkdocs is told about links to files outside docs/: they are links where the repository is read, and names on the site.

A link to a file that is not there fails the build; mkdocs itself looks after those inside docs/.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Take links that leave docs/ for their texts."""
    del config, files
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def shown(match: re.Match[str]) -> str:
        text, target = match.groups()
        place = (folder / target.partition("#")[0]).resolve()
        if place.is_relative_to(ROOT / "docs"):
            return match.group()
        if not place.exists() or not place.is_relative_to(ROOT):
            raise FileNotFoundError(f"{page.file.src_uri}: the link {target} leads nowhere")
        return text

    return re.sub(r"\[([^\]]*)\]\((\.\./[^)\s]*)\)", shown, markdown)
