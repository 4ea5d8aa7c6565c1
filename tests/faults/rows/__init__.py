"""The rows of the matrix."""

from tests.faults.rows import cluster, content, secured, single
from tests.faults.scenario import Scenario

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for module in (single, cluster, secured, content)
    for scenario in module.SCENARIOS
}
