"""``python -m powerblend``."""

import sys

from powerblend.cli import main

sys.exit(main())
