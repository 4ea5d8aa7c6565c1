"""``python -m seawall.testing.simulate``."""

import sys

from seawall.testing.simulate.command import main

sys.exit(main())
