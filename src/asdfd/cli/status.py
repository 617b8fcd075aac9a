"""What `asdfd status` shows: the last runs, and every version of the registry with its stages, its figures and the verdict that it was let in with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from asdfd.base.errors import InputError
from asdfd.base.figures import columns
from asdfd.cli.presentation import rendered
from asdfd.kubeflow.endings import in_words
from asdfd.registry.listing import holders
from asdfd.registry.records import Version, file_key
from asdfd.registry.versions import names, read_version, versions
from asdfd.storage.objects import MissingObject, ObjectStore, open_objects

if TYPE_CHECKING:
    from asdfd.kubeflow.runs import RunRow


@dataclass(frozen=True)
class VersionRow:
    """One version of a model."""

    model: str
    version: str
    created: str
    """ISO 8601 in UTC."""
    stages: tuple[str, ...]
    figures: Mapping[str, float | None]
    """By the heading of their column; None where there is none."""
    verdict: str
    """`passed`, or the reasons against it."""
    problem: str = ""
    """Why the version cannot be read, where it cannot."""

    def document(self) -> dict[str, Any]:
        """The row as JSON has it: its figures are beside the rest."""
        found = asdict(self)
        return found | found.pop("figures")


def version_rows(location: str, count: int) -> list[VersionRow]:
    """The newest versions of every model of a registry, `count` of each at the most, and all that hold a stage; newest first.

    Raises:
        InputError: the registry cannot be read.
    """
    store = open_objects(location)
    rows: list[VersionRow] = []
    for model in names(store):
        held = holders(store, model)
        found = sorted((_row(store, model, version, held) for version in versions(store, model)), key=lambda row: row.created, reverse=True)
        rows += [row for number, row in enumerate(found) if number < count or row.stages]
    return rows


def _row(store: ObjectStore, model: str, version: str, held: Mapping[str, list[str]]) -> VersionRow:
    stages = tuple(held.get(version, ()))
    try:
        found = read_version(store, model, version, signed=False)
        verdict = _verdict(store, found)
    except MissingObject as error:  # removed between the listing and this
        return VersionRow(model, version, "", stages, columns({}), "", str(error))
    except InputError as error:
        return VersionRow(model, version, "", stages, columns({}), "", str(error))
    return VersionRow(model, version, found.created, stages, columns(found.metrics), verdict)


def _verdict(store: ObjectStore, version: Version) -> str:
    content, _ = store.read(file_key(version, "verdict/verdict.json"))
    document: dict[str, Any] = json.loads(content)
    return "passed" if document.get("passed") is True else "; ".join(document.get("reasons") or ["rejected"])


def print_status(location: str, runs: Sequence[RunRow] | None, rows: Sequence[VersionRow]) -> None:
    """Show the last runs (None where there is no server to ask) and the versions to people."""
    if runs is None:
        print("no runs: no Kubeflow Pipelines server is named, or it does not answer")
    else:
        table = Table(title="last runs", title_justify="left", box=SIMPLE_HEAD)
        table.add_column("run", overflow="fold", min_width=36)
        for heading in ("state", "started", "took"):
            table.add_column(heading, no_wrap=True)
        for run in runs:
            name = f"{run.name}\nby a schedule" if run.recurring_run_id else run.name
            line = f"\n{in_words(run.ending)}" if run.ending else f"\nwaiting in {run.waiting}" if run.waiting else ""
            table.add_row(f"{name}\n{run.run_id}{line}", run.ending.outcome if run.ending else run.state.lower(), _minute(run.created_at), _took(run))
        print(rendered(table) if runs else "no runs yet\n", end="")
    if not rows:
        print(f"no versions in {location}")
        return
    table = Table(title=f"versions in {location}", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("version", overflow="fold", min_width=16)
    for heading in ("stages", "made", *columns({})):
        table.add_column(heading, no_wrap=True)
    table.add_column("verdict", overflow="fold", min_width=7)
    for row in rows:
        figures = ["" if value is None else f"{value:.4f}" for value in row.figures.values()]
        table.add_row(f"{row.model}\n{row.version}", "\n".join(row.stages), row.created[:10], *figures, "damaged" if row.problem else row.verdict)
    print(rendered(table), end="")


def _minute(moment: str) -> str:
    """A moment without its seconds, which nobody needs in a table; times are UTC."""
    return moment[:16].replace("T", " ")


def _took(run: RunRow) -> str:
    """How long a run that has ended took."""
    if not run.finished_at or not run.created_at:
        return ""
    return str(datetime.fromisoformat(run.finished_at) - datetime.fromisoformat(run.created_at)).partition(".")[0]
