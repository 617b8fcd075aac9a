"""What has to be done to a server so that its recurring runs are the declared schedules. Nothing here asks a server.

A recurring run of ours carries a marker in its description: whose it is, which schedule, the digest of the declaration it was made from, and the digest of its
own content. One without a marker, with another owner's, or whose content is not what its marker says (somebody cloned it in the user interface and changed
it there) is somebody else's and is never touched.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from asdfd.base.artifacts import canonical_json
from asdfd.kubeflow.schedules import Schedule

MARKER = re.compile(r"\[asdfd schedule ([a-z0-9-]+)/([a-z0-9-]+) declared ([0-9a-f]{16}) content ([0-9a-f]{16})\]\s*$")


@dataclass(frozen=True)
class Content:
    """What a recurring run does, as far as the server tells it again."""

    cron: str
    pipeline_id: str
    version_id: str
    """Empty for the latest one."""
    parameters: Mapping[str, Any]
    concurrency: int
    catch_up: bool

    @property
    def digest(self) -> str:
        """16 hexadecimal digits. Numbers count as doubles: that is what comes back from a server."""
        return _digest(_as_doubles(asdict(self)))


@dataclass(frozen=True)
class Wanted:
    """A declared schedule in the terms of a server."""

    owner: str
    schedule: Schedule
    content: Content

    @property
    def declared(self) -> str:
        """Digest of all that a recurring run cannot be changed in; `enabled` can be."""
        extra = {"experiment": self.schedule.experiment, "service_account": self.schedule.service_account}
        return _digest({"content": self.content.digest, **extra})

    @property
    def description(self) -> str:
        """Description of the recurring run, which ends in its marker."""
        told = f"{self.schedule.cron} {self.schedule.time_zone}, version {self.schedule.version}. Kept by `asdfd schedule apply`: do not change it here."
        return f"{told} [asdfd schedule {self.owner}/{self.schedule.name} declared {self.declared} content {self.content.digest}]"


@dataclass(frozen=True)
class Live:
    """A recurring run of a server."""

    identifier: str
    name: str
    description: str
    enabled: bool
    created_at: str
    content: Content | None
    """None for one of another kind, such as a run every so many seconds."""

    @property
    def marker(self) -> tuple[str, str, str, str] | None:
        """Owner, schedule and the two digests of its marker."""
        match = MARKER.search(self.description)
        return (match[1], match[2], match[3], match[4]) if match else None

    @property
    def is_genuine(self) -> bool:
        """Whether it is what its marker says."""
        return self.marker is not None and self.content is not None and self.content.digest == self.marker[3]


@dataclass(frozen=True)
class Action:
    """One call that brings a server nearer to the declaration."""

    kind: Literal["create", "enable", "disable", "delete"]
    schedule: str
    reason: str
    wanted: Wanted | None = None
    """What to create."""
    identifier: str = ""
    """Which recurring run to enable, disable or delete."""


@dataclass(frozen=True)
class Differences:
    """What has to be done, in this order, and what stands in the way."""

    actions: tuple[Action, ...]
    conflicts: tuple[str, ...]
    """Schedules that cannot be made, each with the reason and the remedy in one line."""


def differences(owner: str, wanted: Sequence[Wanted], live: Iterable[Live]) -> Differences:
    """What turns the recurring runs of a server into the declared ones.

    Of every schedule the new one is made before an old one is removed, so that there is always one; a crash in between leaves both, and the next comparison
    removes the old one.
    """
    actions: list[Action] = []
    conflicts: list[str] = []
    ours = sorted((run for run in live if run.marker is not None and run.marker[0] == owner), key=lambda run: (run.created_at, run.identifier))
    declared = {entry.schedule.name for entry in wanted}
    for entry in wanted:
        named = [run for run in ours if run.marker is not None and run.marker[1] == entry.schedule.name]
        _compare_one(entry, named, actions, conflicts)
    for run in ours:
        if run.is_genuine and run.marker is not None and run.marker[1] not in declared:
            actions.append(Action("delete", run.marker[1], "no longer declared", identifier=run.identifier))
    return Differences(tuple(actions), tuple(conflicts))


def _compare_one(entry: Wanted, named: Sequence[Live], actions: list[Action], conflicts: list[str]) -> None:
    """Compare one schedule; `named` are the recurring runs whose marker names it, oldest first.

    A server that keeps another content than it was given would get one more at every apply: where one of our name and marker but of another content is found,
    nothing is made. (The user interface calls a clone by another name.)
    """
    name, genuine = entry.schedule.name, [run for run in named if run.is_genuine]
    current = [run for run in genuine if run.marker is not None and run.marker[2] == entry.declared]
    altered = [run for run in named if not run.is_genuine and run.marker is not None and run.marker[2] == entry.declared and run.name == name]
    if not current and altered:
        remedy = "if the server is too old for version: latest, pin a version; else delete it or empty its description"
        conflicts.append(f"schedule {name}: recurring run {altered[0].identifier} has our marker but not the content that it was made with; {remedy}")
        return
    if not current:
        reason = "its declaration changed" if genuine else "it is not there"
        actions.append(Action("create", name, reason, wanted=entry))
    elif current[0].enabled != entry.schedule.enabled:
        kind, is_so = ("enable", "disabled") if entry.schedule.enabled else ("disable", "enabled")
        actions.append(Action(kind, name, f"it is {is_so}", identifier=current[0].identifier))
    for run in genuine:
        if run not in current:
            actions.append(Action("delete", name, "made from an older declaration", identifier=run.identifier))
    actions.extend(Action("delete", name, "there are two of it", identifier=run.identifier) for run in current[1:])


def _as_doubles(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _as_doubles(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_as_doubles(entry) for entry in value]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()[:16]
