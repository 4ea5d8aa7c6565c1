"""docs/metrics.md names every metric that there is, with its kind, unit and labels."""

import re

import pytest

from seawall.telemetry import catalogue
from seawall.telemetry.clients import STATES
from tests.pages import DOCS

PAGE = (DOCS / "metrics.md").read_text()
ROWS = {
    match[1]: match[0].split(" | ") for match in re.finditer(r"^\| `([a-z_.]+)` \|.*$", PAGE, re.M)
}
UNITS = {"s": ", s", "By": ", By", "{call}/s": ", 1/s"}


@pytest.mark.parametrize("instrument", catalogue.ALL, ids=lambda one: one.name)
def test_a_metric_is_told_of_as_it_is(instrument):
    _, kind, labels, *_ = ROWS[instrument.name]
    assert kind == instrument.kind + UNITS.get(instrument.unit, "")
    told = set(re.findall(r"`([a-z_.]+)`", labels))
    if labels.startswith("and "):
        told |= {catalogue.METHOD, catalogue.TARGET}
    assert told == set(instrument.labels)


def test_there_are_no_others():
    assert set(ROWS) == {instrument.name for instrument in catalogue.ALL}


def test_the_states_of_endpoints():
    (row,) = (row for name, row in ROWS.items() if name == catalogue.ENDPOINTS.name)
    assert set(re.findall(r"`([a-z_]+)`", row[-1])) == set(STATES)


def test_the_buckets():
    (told,) = re.findall(r"Buckets of seconds end at (.*?): every", PAGE, re.S)
    below, above = told.split(" ms and ")
    numbers = [float(n) / 1000 for n in re.findall(r"[\d.]+", below)]
    numbers += [float(n) for n in re.findall(r"[\d.]+", above)]
    assert numbers == pytest.approx(catalogue.SECONDS)
