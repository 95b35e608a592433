"""`python -m facemake` is the command `facemake`."""

import sys

from facemake.cli import main

sys.exit(main())
