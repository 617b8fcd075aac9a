"""`python -m asdfd.cli`."""

import sys

from asdfd.cli.main import main

sys.exit(main())
