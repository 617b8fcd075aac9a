"""Everything that a user can get wrong: the exit code, one line that names the place and the remedy, and not a file more or less than before."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from asdfd.cli.main import main
from tests.cli.conftest import Made, tiny_options
from tests.tiny_models import make_teacher

Preparation = Callable[[Path, Made], None]
"""Puts something into a folder before the command runs."""


@dataclass(frozen=True)
class Case:
    """A command in the folder {tmp}, and words that its one line on stderr must hold."""

    command: str
    words: tuple[str, ...]
    prepare: Preparation | None = None
    exit_code: int = 2


def write(name: str, content: str | bytes) -> Preparation:
    """Put a file there."""

    def prepare(tmp: Path, made: Made) -> None:
        del made
        (tmp / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return prepare


def copy_of(kind: str, change: Callable[[Path], object] = lambda folder: folder, name: str = "") -> Preparation:
    """Put a changed copy of an artifact there, under its kind or another name."""

    def prepare(tmp: Path, made: Made) -> None:
        change(shutil.copytree(getattr(made, kind), tmp / (name or kind)))

    return prepare


def flip(name: str) -> Callable[[Path], None]:
    """Flip one bit in the middle of a file."""

    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 4
        (folder / name).write_bytes(content)

    return change


def newer(folder: Path) -> None:
    """Make it an artifact of a later version."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"schema": 2}))


SYNTHESIZE = "synthesize --teacher {teacher} --out {out}"
DISTILL = "distill --teacher {teacher} --bank {bank} --out {out}"
EVALUATE = "evaluate --teacher {teacher} --student {student} --out {out}"
FETCH = "fetch --out {out} --teacher "

VERBS = ("fetch", "synthesize", "merge", "distill", "evaluate", "run")

CASES = {
    # the command line
    "no verb": Case("", ("VERB", "asdfd --help")),
    "unknown verb": Case("train --out {out}", ("'train'", "'distill'")),
    "unknown option": Case(f"{SYNTHESIZE} --fast", ("unrecognized arguments: --fast", "--help")),
    "abbreviated option": Case("synthesize --teach {teacher} --out {out}", ("--teacher",)),
    "missing option": Case("distill --teacher {teacher} --out {out}", ("required: --bank", "asdfd distill --help")),
    "option without value": Case("fetch --teacher", ("--teacher", "expected one argument")),
    "shard is no number": Case(f"{SYNTHESIZE} --shard one/2", ("--shard", "'one/2'")),
    "shard of how many": Case(f"{SYNTHESIZE} --shard 1", ("--shard", "'1' does not say which of how many; write it as 0/4")),
    # parameters
    "unknown preset": Case(f"{SYNTHESIZE} --preset fast", ("'fast'", "default, guessing, paper, quick")),
    "params file missing": Case(f"{SYNTHESIZE} --params {{tmp}}/no.yaml", ("{tmp}/no.yaml", "No such file")),
    "params file is a folder": Case(f"{SYNTHESIZE} --params {{tmp}}", ("Is a directory",)),
    "params file not yaml": Case(f"{SYNTHESIZE} --params {{tmp}}/p.yaml", ("p.yaml", "not valid YAML at line 2"), write("p.yaml", "a: 1\nb: [")),
    "params file is a list": Case(f"{SYNTHESIZE} --params {{tmp}}/p.yaml", ("p.yaml", "found list"), write("p.yaml", "- seed")),
    "unknown section": Case(
        f"{SYNTHESIZE} --params {{tmp}}/p.yaml",
        ("p.yaml", "distil is not a parameter; did you mean distillation?", "distillation"),
        write("p.yaml", "distil: {}"),
    ),
    "unknown name": Case(f"{SYNTHESIZE} --set distillation.step=3", ("distillation.step is not a parameter", "steps")),
    "name of an earlier version": Case(
        f"{SYNTHESIZE} --set synthesis.shards=2", ("--set synthesis.shards=2: synthesis.shards is no parameter any more", "leave it out", "--shard N/COUNT")
    ),
    "wrong type": Case(f"{SYNTHESIZE} --set synthesis.samples=many", ("synthesis.samples", "integer", "'many'")),
    "yes for a number": Case(f"{SYNTHESIZE} --set synthesis.samples=yes", ("synthesis.samples", "number")),
    "out of range": Case(f"{SYNTHESIZE} --set synthesis.confidence=1.5", ("synthesis.confidence", "less than or equal to 1", "1.5")),
    "negative": Case(f"{DISTILL} --set distillation.steps=-5", ("distillation.steps", "-5")),
    "learning rate not a number": Case(f"{DISTILL} --set distillation.learning_rate=.nan", ("distillation.learning_rate", "nan")),
    "learning rate zero": Case(f"{DISTILL} --set distillation.learning_rate=0", ("distillation.learning_rate", "greater than 0")),
    "setting without value": Case(f"{SYNTHESIZE} --set distillation.steps", ("section.name=value",)),
    "setting of a section": Case(f"{SYNTHESIZE} --set distillation=3", ("distillation is a section",)),
    "lengths the wrong way round": Case(f"{SYNTHESIZE} --set synthesis.minimum_length=9", ("minimum_length 9 is above maximum_length 6",)),
    "parameters that do not fit": Case(
        f"{SYNTHESIZE} --set synthesis.initial=gaussian --set synthesis.guessing=replacement", ("replacement", "set initial to 'tokens'")
    ),
    "unknown device": Case(f"{SYNTHESIZE} --set device=tpu", ("device", "'tpu'", "'cuda'")),
    # teachers
    "teacher folder missing": Case("synthesize --teacher {tmp}/no --out {out}", ("{tmp}/no: no such folder", "folder of a teacher")),
    "teacher is no artifact": Case("synthesize --teacher {source} --out {out}", ("{source}: holds no manifest.json",)),
    "teacher is a bank": Case("synthesize --teacher {bank} --out {out}", ("{bank}: is a bank, a teacher is needed",)),
    "teacher of a newer version": Case("synthesize --teacher {tmp}/teacher --out {out}", ("schema 2", "use the asdfd"), copy_of("teacher", newer)),
    "teacher damaged": Case(
        "synthesize --teacher {tmp}/teacher --out {out}",
        ("{tmp}/teacher/model.safetensors", "make it again with `asdfd fetch`"),
        copy_of("teacher", flip("model.safetensors")),
    ),
    "no reference": Case("fetch --out {out}", ("teacher.reference", "--teacher")),
    "unknown scheme": Case(f"{FETCH} ftp://host/model", ("ftp://host/model", "scheme ftp://", "hf://organisation/name@revision")),
    "hub model without revision": Case(f"{FETCH} hf://organisation/name", ("hf://organisation/name", "revision")),
    "hub model out of reach": Case(f"{FETCH} hf://organisation/name@main", ("hf://organisation/name@main", "cannot be reached")),
    "source folder missing": Case(f"{FETCH} {{tmp}}/no", ("{tmp}/no: no such folder",)),
    "source is no model": Case(f"{FETCH} {{tmp}}", ("config.json", "is missing")),
    "source of an unsupported family": Case(f"{FETCH} {{tmp}}", ("config.json", "gpt2", "bert"), write("config.json", '{"model_type": "gpt2"}'), exit_code=3),
    "other teacher than expected": Case(f"{FETCH} {{source}} --set teacher.digest={'f' * 64}", ("has digest", f"expected {'f' * 64}"), exit_code=3),
    # synthesis
    "samples too long for the teacher": Case(
        f"{SYNTHESIZE} --set synthesis.maximum_length=127", ("synthesis.maximum_length: 127", "128 positions", "lower it")
    ),
    "shard out of range": Case(f"{SYNTHESIZE} --shard 2/2", ("--shard 2/2: shards are numbered from 0",)),
    "shard of none": Case(f"{SYNTHESIZE} --shard 0/0", ("--shard 0/0: shards are numbered from 0",)),
    "no gpu": Case(f"{SYNTHESIZE} --set device=cuda", ("device cuda", "no usable GPU")),
    # merge
    "shard missing": Case("merge --out {out} {shards[0]}", ("shards [0]", "0 to 1 are needed")),
    "shard twice": Case("merge --out {out} {shards[0]} {shards[0]} {shards[1]}", ("shards [0, 0, 1]",)),
    "foreign shard": Case("merge --out {out} {shards[0]} {other_shard}", ("{other_shard}: is a shard of another bank than {shards[0]}",)),
    "shard is a bank": Case("merge --out {out} {bank}", ("{bank}: is a bank, a bank-shard is needed",)),
    "no shards": Case("merge --out {out}", ("SHARD",)),
    # distillation
    "bank of another teacher": Case(
        "distill --teacher {other_teacher} --bank {bank} --out {out}", ("{bank}: was made by another teacher than {other_teacher}",)
    ),
    "bank damaged": Case(
        "distill --teacher {teacher} --bank {tmp}/bank --out {out}",
        ("{tmp}/bank/part-00000.safetensors", "make it again with `asdfd synthesize`, or fetch it again"),
        copy_of("bank", flip("part-00000.safetensors")),
    ),
    "bank without a part": Case(
        "distill --teacher {teacher} --bank {tmp}/bank --out {out}",
        ("{tmp}/bank/part-00000.safetensors: is missing",),
        copy_of("bank", lambda folder: (folder / "part-00000.safetensors").unlink()),
    ),
    "bank with a file too many": Case(
        "distill --teacher {teacher} --bank {tmp}/bank --out {out}",
        ("{tmp}/bank/notes.txt: is not named",),
        copy_of("bank", lambda folder: (folder / "notes.txt").touch()),
    ),
    "teacher and bank the wrong way round": Case("distill --teacher {bank} --bank {teacher} --out {out}", ("{bank}: is a bank, a teacher is needed",)),
    "layer out of range": Case(f"{DISTILL} --set student.layers=1,4", ("student.layers '1,4'", "between 0 and 3")),
    "layers not rising": Case(f"{DISTILL} --set student.layers=3,1", ("student.layers '3,1'", "rise")),
    "layers twice": Case(f"{DISTILL} --set student.layers=1,1", ("student.layers '1,1'", "rise")),
    "layers unknown": Case(f"{DISTILL} --set student.layers=middle", ("student.layers 'middle'", "every-other")),
    "more layers than the teacher": Case(f"{DISTILL} --set student.count=5", ("student.count 5", "4 layers")),
    # evaluation
    "student as teacher": Case("evaluate --teacher {student} --student {student} --out {out}", ("{student}: is a student, a teacher is needed",)),
    "student of another teacher": Case(
        "evaluate --teacher {other_teacher} --student {student} --out {out}", ("{student}: was distilled from another teacher",)
    ),
    "data missing": Case(f"{EVALUATE} --data {{tmp}}/no.csv", ("{tmp}/no.csv: no such file",)),
    "data of unknown extension": Case(f"{EVALUATE} --data {{tmp}}/d.xls", ("{tmp}/d.xls", ".csv, .tsv"), write("d.xls", "text,label\na,praise\n")),
    "data without the column": Case(
        f"{EVALUATE} --data {{tmp}}/d.csv --set evaluation.label_column=label",
        ("d.csv: has no column 'label'", "'class'"),
        write("d.csv", "text,class\na,praise\n"),
    ),
    "data with an unknown label": Case(
        f"{EVALUATE} --data {{tmp}}/d.csv", ("row 2", "unknown label 'anger'", "complaint, praise, question"), write("d.csv", "text,label\na,praise\nb,anger\n")
    ),
    "data empty": Case(f"{EVALUATE} --data {{tmp}}/d.csv", ("d.csv: is empty",), write("d.csv", "")),
    "data without rows": Case(f"{EVALUATE} --data {{tmp}}/d.csv", ("d.csv: holds no rows",), write("d.csv", "text,label\n")),
    "data not utf-8": Case(f"{EVALUATE} --data {{tmp}}/d.csv", ("d.csv: is not UTF-8",), write("d.csv", b"text,label\ncaf\xe9,praise\n")),
    "data is a folder": Case(f"{EVALUATE} --data {{tmp}}", ("{tmp}: is a folder",)),
    # where the result goes
    "out is a file": Case(f"{SYNTHESIZE}", ("{out}: exists and is not a bank of ours",), write("out", "mine")),
    "out is below a file": Case("synthesize --teacher {teacher} --out {tmp}/mine/bank", ("{tmp}/mine/bank: cannot be written",), write("mine", "mine")),
    "out holds something else": Case(f"{DISTILL}", ("{out}: exists and is not a student of ours",), write("out/mine", "mine")),
    "out holds a bank of other parameters": Case(f"{SYNTHESIZE} --set seed=3", ("{out}: holds a bank made from other",), copy_of("bank", name="out")),
    "out holds another kind": Case(f"{DISTILL}", ("{out}: is a bank, a student is needed",), copy_of("bank", name="out")),
    "out holds a damaged bank": Case(
        "synthesize --teacher {teacher} --out {tmp}/bank", ("part-00000.safetensors: is not the file",), copy_of("bank", flip("part-00000.safetensors"))
    ),
    "an interrupted step of other parameters": Case(
        f"{DISTILL}", ("{out}.partial: holds an interrupted student of other",), write("out.partial/recipe.sha256", "0" * 64)
    ),
    # a whole run
    "run without a teacher": Case("run --out {out}", ("teacher.reference", "--teacher")),
    "run with data missing": Case("run --teacher {source} --data {tmp}/no.csv --out {out}", ("{tmp}/no.csv: no such file",)),
    "run with layers out of range": Case("run --teacher {source} --set student.layers=9 --out {out}", ("student.layers '9'",)),
}


def snapshot(folder: Path) -> dict[str, bytes]:
    """Everything in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"folder" for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name.startswith("run with ") else ()) for name in CASES])
def test_one_line_the_exit_code_and_nothing_left_behind(name: str, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[name]
    if name == "no gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    if case.prepare is not None:
        case.prepare(tmp_path, made)
    before = snapshot(tmp_path)
    places = vars(made) | {"tmp": tmp_path, "out": tmp_path / "out"}
    words = shlex.split(case.command.format(**places))
    code = main([words[0], *tiny_options(), *words[1:]] if words and words[0] in VERBS else words)
    output = capsys.readouterr()
    assert code == case.exit_code, output.err
    assert output.out == ""
    if name.startswith("run "):
        output = output._replace(err=re.sub(r"^[a-z_]+ +\d+:\d\d\n", "", output.err, flags=re.MULTILINE))  # the steps that were done before
    assert output.err.startswith("asdfd: ")
    assert output.err.count("\n") == 1
    assert output.err.endswith("\n")
    assert "Traceback" not in output.err
    for word in case.words:
        assert word.format(**places) in output.err
    after = snapshot(tmp_path)
    if name.startswith("run "):  # a run keeps the steps that were done before the mistake could be seen
        after = {path: content for path, content in after.items() if not path.startswith(("out/teacher", "out/pipeline")) and path != "out"}
    assert after == before


@pytest.mark.parametrize("family", ["roberta", "mpnet"])
def test_positions_that_count_from_the_padding_are_not_taken_for_more_than_they_are(family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """These families keep the first positions for padding, so their table is longer than their longest text of 128 tokens, special ones counted."""
    make_teacher(tmp_path / "source", family)
    assert main(["fetch", "--teacher", str(tmp_path / "source"), "--out", str(tmp_path / "teacher")]) == 0
    words = ["synthesize", "--teacher", str(tmp_path / "teacher"), "--out", str(tmp_path / "bank"), "--set", "synthesis.samples=8"]
    lengths = [["--set", f"synthesis.minimum_length={length}", "--set", f"synthesis.maximum_length={length}"] for length in (126, 127)]
    assert main([*words, *lengths[1]]) == 2
    assert "127 and special tokens exceed the teacher's 128 positions" in capsys.readouterr().err
    assert not (tmp_path / "bank.partial").exists()
    assert main([*words, *lengths[0]]) == 0


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 25


@pytest.mark.parametrize("command", ["distill --bank b", "synthesize --teacher {tmp}/no --out {tmp}/out", "fetch --teacher {tmp} --out {tmp}/out"])
def test_the_same_through_the_real_command(command: str, tmp_path: Path) -> None:
    words = shlex.split(command.format(tmp=tmp_path))
    done = subprocess.run([sys.executable, "-m", "asdfd.cli", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("asdfd: ")
    assert list(tmp_path.iterdir()) == []
