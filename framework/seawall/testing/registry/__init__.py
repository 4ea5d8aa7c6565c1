"""What every registry must do, as a test suite to run against one of your own.

Needs pytest and pytest-asyncio. Subclass, and say which URL to open::

    class TestMine(RegistryConformance):
        crash_limit = 15.0                     # seconds until a killed owner must be gone

        @pytest.fixture
        def registry_url(self) -> str:
            return "mine://127.0.0.1:4000"

Where yours differs from etcd, override a method; each has a default that fits most:

=============  ====================================================================
``open``       opens it, if ``open_registry`` doesn't know the scheme
``announce``   announces; skip the test there if nothing can be announced
``listed_as``  how it lists what was announced, if it can't keep all of an instance
``living``     an owner that can be killed; by default a process, with ``crash_limit``
``restart``    restarts the registry itself; skipped by default
``spoil``      writes something malformed into it; skipped by default
=============  ====================================================================

For assertion messages with values in them, put
``pytest.register_assert_rewrite("seawall.testing.registry")`` into your ``conftest.py``.
"""

from seawall.testing.registry.announcing import AnnouncingConformance
from seawall.testing.registry.faults import FaultConformance
from seawall.testing.registry.harness import Harness
from seawall.testing.registry.telling import TellingConformance
from seawall.testing.registry.tools import (
    LIMIT,
    Following,
    Instances,
    no_more_tasks_than,
    owner_process,
    python_process,
    until,
)
from seawall.testing.registry.watching import WatchConformance

__all__ = [
    "LIMIT",
    "Following",
    "Harness",
    "Instances",
    "RegistryConformance",
    "WatchConformance",
    "no_more_tasks_than",
    "owner_process",
    "python_process",
    "until",
]


class RegistryConformance(
    FaultConformance, TellingConformance, AnnouncingConformance, WatchConformance
):
    """The whole contract of ``seawall.registry.Registry``."""
