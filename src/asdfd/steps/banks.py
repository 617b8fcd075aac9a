"""Steps up to the bank: the teacher, the pseudo samples, and putting shards together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asdfd.base import artifacts
from asdfd.base.artifacts import Artifact, Recipe, library_versions, open_workspace
from asdfd.base.config import Run
from asdfd.base.errors import InputError, RefusedError, StoppedError
from asdfd.base.interruption import ShouldStop, never
from asdfd.base.telemetry import Progress, tell
from asdfd.monitoring.observation import observe

if TYPE_CHECKING:
    from asdfd.models.classifiers import Classifier
    from asdfd.steps.kept_parts import KeptParts


@dataclass(frozen=True)
class Shard:
    """Which parts of a bank one of several machines makes: every `count`-th, from `number` on."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def fetch(run: Run, out: Path) -> Artifact:
    """Resolve `run.teacher.reference` into a verified teacher artifact, with its footprint where `run.teacher.base` names its encoder.

    The user is told what the footprint reveals, or what is lost without one.

    Raises:
        InputError: the reference is missing, unknown, unreachable or damaged.
        RefusedError: the model is unsafe or not supported.
    """
    made = fetch_again(run, out)
    if not run.teacher.base:
        tell(_without_base(made, run.teacher.reference))
    return made


def fetch_again(run: Run, out: Path) -> Artifact:
    """As `fetch`, for a student that was made from this teacher already: nothing is lost any more."""
    from asdfd.models.fetching import fetch as fetch_teacher

    if not run.teacher.reference:
        raise InputError("teacher.reference: is empty; name a folder, hf://organisation/name@revision or s3://bucket/prefix with --teacher")
    return fetch_teacher(run.teacher.reference, out, expected_digest=run.teacher.digest, base=run.teacher.base)


def _without_base(teacher: Artifact, reference: str) -> str:
    """What is lost without the public encoder, and what the teacher's config says of it."""
    from asdfd.models.admission import CONFIG
    from asdfd.models.footprint import named_base

    name = named_base(json.loads((teacher.path / CONFIG).read_text(encoding="utf-8")), reference)
    hint = f" (its {CONFIG} says {name})" if name else ""
    return (
        "teacher.base is empty, so pseudo samples are drawn by how frequent words are in general; name the public encoder that the teacher was fine-tuned "
        f"from{hint}, and they take after its training texts (docs/footprint.md)"
    )


def footprint_facts(teacher: Artifact) -> dict[str, Any]:
    """What a teacher reveals of its training texts, by name; empty where its footprint was not told."""
    from asdfd.models.footprint import read_footprint

    footprint = read_footprint(teacher.path)
    return footprint.facts() if footprint else {}


def synthesize(run: Run, teacher: Path | Artifact, out: Path, shard: Shard | None = None, should_stop: ShouldStop = never, checkpoints: str = "") -> Artifact:
    """Make the bank, or with `shard` that share of it, part by part; several GPUs each make their share of the parts.

    Finished parts are in `<out>.partial`; with `checkpoints`, a folder or s3://bucket/prefix, also there, for a process that finds no such folder.

    Raises:
        InputError: wrong paths or shard number, or sequences that are too long for the teacher.
        StoppedError: stopped between two parts; the finished ones are kept.
    """
    source = artifacts.verified(teacher, "teacher")  # before the imports, which take seconds: a mistyped path is refused at once
    from asdfd.method.bank import part_count
    from asdfd.models.classifiers import load_teacher, usable_devices

    recipe = _bank_recipe(run, source)
    parts = list(range(part_count(run.synthesis.samples)))
    if shard is not None:
        if not 0 <= shard.number < shard.count:
            raise InputError(f"--shard {shard}: shards are numbered from 0, so the last of four is 3/4; change the number or how many there are")
        recipe = Recipe("bank-shard", recipe.inputs, {**recipe.config, "shard": shard.number, "shards": shard.count}, run.seed)
        parts = parts[shard.number :: shard.count]
    classifiers = [load_teacher(source, device) for device in usable_devices(run.device)]
    _check_length(run, classifiers[0])
    workspace = open_workspace(out, recipe)
    if isinstance(workspace, Artifact):
        return workspace
    kept = _kept_parts(checkpoints, recipe)
    if kept is not None:
        kept.fetch(workspace.artifact)
    progress = Progress("synthesize, parts" if shard is None else f"synthesize shard {shard}, parts", len(parts))
    finished = iter(range(1, len(parts) + 1))

    def on_part(_: int) -> None:
        done = next(finished)
        progress.show(done)
        if kept is not None:
            kept.keep(workspace.artifact)
        if should_stop() and done < len(parts):
            raise StoppedError(f"stopped after part {done} of {len(parts)}; run the same command again to go on")

    with observe(run, "synthesize" if shard is None else f"synthesize-{shard.number}", workspace):
        try:
            _synthesize_together(classifiers, run, workspace.artifact, parts, on_part)
        except (InputError, RefusedError):  # a declared source that is of no use
            if not any(workspace.artifact.iterdir()):  # what an earlier try made of it is kept: the source may be back in a moment
                workspace.remove()
            raise
        except StoppedError:
            if kept is not None:
                kept.keep_last(workspace.artifact)
            raise
        if kept is not None:
            kept.finish()
        return workspace.finish(library_versions())


def _kept_parts(location: str, recipe: Recipe) -> KeptParts | None:
    """What is kept of a bank at a location, where there is one."""
    if not location:
        return None
    from asdfd.steps.kept_parts import KeptParts

    return KeptParts(location, recipe.fingerprint)


def _synthesize_together(classifiers: Sequence[Classifier], run: Run, folder: Path, parts: list[int], on_part: Callable[[int], None]) -> None:
    """Write the parts, each classifier its share of them. A part is a function of the seed and its number, so it does not matter which one makes it.

    Threads: the work is in PyTorch's kernels, which run beside each other on their devices.
    """
    from asdfd.method.synthesis import synthesize_parts

    count = len(classifiers)
    if count == 1:  # in this thread, whose number of cores is set
        synthesize_parts(classifiers[0], run.synthesis, run.seed, folder, parts, on_part)
        return
    with ThreadPoolExecutor(count, "synthesize") as pool:
        shares = [
            pool.submit(synthesize_parts, each, run.synthesis, run.seed, folder, parts[number::count], on_part) for number, each in enumerate(classifiers)
        ]
        for share in shares:
            share.result()


def merge(shards: Sequence[Path], out: Path) -> Artifact:
    """Put a bank together from all of its shards; the result is the bank that one run without shards makes.

    Raises:
        InputError: a shard is missing, named twice, or of another bank.
    """
    if not shards:
        raise InputError("merge: no shard is named; name the folders that `asdfd synthesize --shard N/COUNT` wrote")
    found = [artifacts.read(path, "bank-shard") for path in shards]
    configs = [dict(shard.recipe.config) for shard in found]
    numbers = sorted(config.pop("shard") for config in configs)
    count = configs[0].pop("shards")
    recipe = Recipe("bank", found[0].recipe.inputs, configs[0], found[0].recipe.seed)
    for shard, config in zip(found[1:], configs[1:], strict=True):
        if (config.pop("shards"), config, shard.recipe.inputs, shard.recipe.seed) != (count, configs[0], recipe.inputs, recipe.seed):
            raise InputError(f"{shard.path}: is a shard of another bank than {found[0].path} (other teacher, parameters or seed); merge shards of one bank")
    if numbers != list(range(count)):
        raise InputError(
            f"merge: shards {numbers} were named, 0 to {count - 1} are needed once each; make the missing ones with `asdfd synthesize --shard N/{count}`"
        )
    workspace = open_workspace(out, recipe)
    if isinstance(workspace, Artifact):
        return workspace
    for shard in found:
        for name in shard.files:
            shutil.copyfile(shard.path / name, workspace.artifact / name)
    return workspace.finish(found[0].versions)


def _bank_recipe(run: Run, teacher: Artifact) -> Recipe:
    """A bank's recipe; the number of shards is not a part of it."""
    return Recipe("bank", {"teacher": teacher.digest}, synthesis_parameters(run), run.seed)


def synthesis_parameters(run: Run, *left_out: str) -> dict[str, Any]:
    """What decides pseudo samples. A declared source of word order is told by what it holds, and by nothing where there is none."""
    from asdfd.method.word_order import declared_digests

    single = () if run.synthesis.pairs else ("pairs",)  # what is not there needs no word
    return run.synthesis.model_dump(mode="json", exclude={"prior_text", "prior_model", *single, *left_out}) | declared_digests(run.synthesis)


def _check_length(run: Run, classifier: Classifier) -> None:
    """Refuse samples that are longer than the teacher's positions."""
    from asdfd.method.prior import frame_of
    from asdfd.models.lengths import positions

    longest = run.synthesis.maximum_length + frame_of(classifier.tokenizer, pairs=run.synthesis.pairs).length
    most = positions(classifier.model)
    if longest > most:
        raise InputError(f"synthesis.maximum_length: {run.synthesis.maximum_length} and special tokens exceed the teacher's {most} positions; lower it")
