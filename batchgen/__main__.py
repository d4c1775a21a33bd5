"""`python -m batchgen` is the command `batchgen`."""

import sys

from batchgen.cli.main import main

sys.exit(main())
