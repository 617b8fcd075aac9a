"""A task of the pipeline, see README.md."""
