"""The tasks of the pipeline, a folder for each. A component types the inputs and outputs of a task for Kubeflow and calls one step; no rule lives here.
It may import `base` and `steps`."""

from asdfd import __version__

IMAGE = f"asdfd:{__version__}"
"""Image that every task runs in, unless `asdfd compile --image` names another. Kubeflow's cache knows an image by this text alone, so a tag never moves."""
