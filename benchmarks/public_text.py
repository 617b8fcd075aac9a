"""Public English that lies on every machine with Python: the sentences of the standard library's docstrings. The source of the arm `prior-text`.

    python benchmarks/public_text.py          # writes benchmarks/cache/public_text.txt

The same Python gives the same text; another version's differs a little, so results name the Python that they were made with.
"""

from __future__ import annotations

import ast
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

CACHE = Path(__file__).resolve().parent / "cache" / "public_text.txt"
SHORTEST, LONGEST = 4, 40
"""Words of a sentence that is taken."""
LEFT_OUT = {"site-packages", "test", "tests", "idle_test", "__pycache__"}
WORD = re.compile(r"[A-Za-z]+(['-][A-Za-z]+)*[,;:.!?]?")
NODES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def public_text(out: Path = CACHE) -> Path:
    """The file of one sentence per line, made if it is not there."""
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = out.with_suffix(".tmp")
        temporary.write_text("".join(f"{sentence}\n" for sentence in sentences(Path(sysconfig.get_paths()["stdlib"]))), encoding="utf-8")
        temporary.replace(out)
    return out


def sentences(library: Path) -> list[str]:
    """Different sentences of the docstrings below a folder, in the order of file names."""
    files = sorted(path for path in library.rglob("*.py") if not LEFT_OUT & set(path.relative_to(library).parts))
    return list(dict.fromkeys(sentence for path in files for text in docstrings(path) for sentence in sentences_of(text)))


def docstrings(path: Path) -> Iterator[str]:
    """Docstrings of a file; a file that is not Python of this version (lib2to3's old grammar, say) has none."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, NODES) and (text := ast.get_docstring(node)):
            yield text


def sentences_of(docstring: str) -> Iterator[str]:
    """Sentences of plain words: no code, no tables, no lists of names."""
    for paragraph in re.split(r"\n\s*\n", docstring):
        for sentence in re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split())):
            words = sentence.split()
            plain = sum(bool(WORD.fullmatch(word)) for word in words)
            if SHORTEST <= len(words) <= LONGEST and plain >= 0.9 * len(words) and sentence[-1] in ".!?":
                yield sentence


if __name__ == "__main__":
    found = public_text().read_text(encoding="utf-8").splitlines()
    print(f"{CACHE}: {len(found)} sentences, {sum(len(line.split()) for line in found)} words")
