"""What is run in the pages is run on the command line's tiny texts."""

from tests.cli.conftest import data

__all__ = ["data"]
