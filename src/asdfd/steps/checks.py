"""What is checked before a run spends anything: the mistakes that would otherwise end its last steps after hours of the first ones."""

from __future__ import annotations

from asdfd.base.config import Run
from asdfd.steps.evaluations import check_pairs, read_data
from asdfd.storage.objects import open_objects
from asdfd.storage.probe import check_conditional_writes


def check_ahead(run: Run) -> None:
    """Check the kind of the teacher, the layers and the width of the student, the texts of its evaluation, and the registry where it is a bucket.

    Of the teacher, only its config.json is read. In the bucket a few small objects are written and removed.

    Raises:
        InputError: the teacher cannot be found, the student or the texts do not fit it, or the bucket cannot be written or lets two who promote win.
        RefusedError: a teacher of a kind that is not supported.
    """
    from transformers import AutoConfig

    from asdfd.method.widths import check_width
    from asdfd.models.classes import has_several_labels, label_names
    from asdfd.models.fetching import read_config
    from asdfd.models.layer_maps import parse_layer_map

    config = AutoConfig.for_model(**read_config(run.teacher.reference))
    parse_layer_map(run.student.layers, run.student.count, config.num_hidden_layers)
    if run.student.width:
        check_width(run.student.width, config)
    check_pairs(run)
    if run.evaluation.data:
        read_data(run, label_names(config, run.teacher.reference), several=has_several_labels(config))
    if run.registry.location.startswith("s3://"):
        check_conditional_writes(open_objects(run.registry.location))
