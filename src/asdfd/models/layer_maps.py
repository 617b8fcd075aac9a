"""Which of the teacher's layers a student is made of. Nothing here loads a model: a run is checked before any is needed."""

from __future__ import annotations

from collections.abc import Sequence

from asdfd.base.errors import InputError


def parse_layer_map(layers: str, count: int, teacher_layers: int) -> tuple[int, ...]:
    """Teacher layers, from 0, that the student is made of.

    `all` takes all of them: the student is the teacher, for the sake of its export. `every-other` spreads `count` layers evenly and always keeps the last one,
    which the classification head sits on; `first` and `last` take `count` from that end; a list such as `1,3,5` is taken as it is, whatever `count` is. A
    `count` of 0 is half of the teacher's layers, at least one.

    Raises:
        InputError: more layers than the teacher has, an unknown name, or a list that does not rise from layer to layer.
    """
    if layers == "all":
        return tuple(range(teacher_layers))
    if layers not in ("every-other", "first", "last"):
        return _explicit_layers(layers, teacher_layers)
    count = count or max(1, teacher_layers // 2)
    if not 0 < count <= teacher_layers:
        raise InputError(f"student.count {count} is out of range, the teacher has {teacher_layers} layers; choose 1 to {teacher_layers}, or 0 for half of them")
    if layers == "first":
        return tuple(range(count))
    if layers == "last":
        return tuple(range(teacher_layers - count, teacher_layers))
    return tuple(round((i + 1) * teacher_layers / count) - 1 for i in range(count))


def _explicit_layers(layers: str, teacher_layers: int) -> tuple[int, ...]:
    try:
        chosen = tuple(int(part) for part in layers.split(","))
    except ValueError:
        raise InputError(f"student.layers {layers!r} is unknown; write every-other, first, last, all, or teacher layers from 0 such as 1,3,5") from None
    if list(chosen) != sorted(set(chosen)) or chosen[0] < 0 or chosen[-1] >= teacher_layers:
        raise InputError(f"student.layers {layers!r} must rise from layer to layer and stay between 0 and {teacher_layers - 1}, the teacher's last layer")
    return chosen


def layer_pairs(layer_map: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of indices into `Signals.hidden` of student and teacher that belong together: the output of every student layer and that of the layer it was."""
    return [(student + 1, teacher + 1) for student, teacher in enumerate(layer_map)]
