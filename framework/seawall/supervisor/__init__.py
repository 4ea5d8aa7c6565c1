"""Several processes for one command: started, watched, replaced and stopped.

``fleet`` decides, and has neither a clock nor a process of its own; ``supervisor`` does.
"""

from seawall.supervisor.protocol import Job
from seawall.supervisor.signs import Wish, WorkerId
from seawall.supervisor.supervisor import Supervisor
from seawall.supervisor.timing import Timing

__all__ = ["Job", "Supervisor", "Timing", "Wish", "WorkerId"]
