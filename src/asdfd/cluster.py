"""What a run in a cluster needs of its parameters beyond a run on this machine."""

from __future__ import annotations

from asdfd.config import Run
from asdfd.errors import InputError


def check_places(run: Run) -> None:
    """Refuse places that a pod does not have: relative folders are those of this machine, and a registry in a pod is gone with it.

    Raises:
        InputError: the teacher, the data or the registry lies in such a place, or no teacher is named.
    """
    if not run.teacher.reference:
        raise InputError("teacher.reference: is empty; name hf://organisation/name@revision or s3://bucket/prefix")
    places = {"teacher.reference": run.teacher.reference, "evaluation.data": run.evaluation.data, "registry.location": run.registry.location}
    for name, place in places.items():
        if place and "://" not in place and not place.startswith("/"):
            raise InputError(f"{name}: {place!r} is a folder or file of this machine, which a pod does not have; name s3://bucket/prefix, or a mounted /path")
