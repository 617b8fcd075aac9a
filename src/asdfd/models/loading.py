"""What transformers says while it loads and saves: kept off the terminal, and as one line where it fails."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.utils import logging


@contextmanager
def without_load_reports() -> Iterator[None]:
    """Keep the progress bars and load reports of transformers off the terminal."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def reason(error: BaseException, folder: Path, shown: str) -> str:
    """A library's error for a message of one line: white space runs become one space, a long text is cut, and the folder goes by its shown name."""
    return textwrap.shorten(f"{type(error).__name__}: {error}".replace(str(folder), shown), 200, placeholder=" ...")
