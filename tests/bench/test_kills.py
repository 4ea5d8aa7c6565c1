"""The measurement of kills: what it shows, and that it can be run."""

import pytest

from bench.kills import Found, Kill, main, parsed, report


def test_the_report_tells_of_slow_kills_and_failed_calls():
    found = Found(kills=[Kill(1, 0.2, 0.5), Kill(2, 2.0, 2.5)], rollings=[1.0, 3.0])
    found.calls = {"kills": 300, "rolling restarts": 200}
    found.failures = {"kills": ["UNAVAILABLE: lost"], "rolling restarts": []}
    shown = report(parsed([]), found)
    assert (
        "whole again after kill -9: median 1.50 s, least 0.50, most 2.50; within 2 s: 1 of 2"
        in (shown)
    )
    assert "2 rolling restarts: median 2.00 s, least 1.00, most 3.00" in shown
    assert "during kills: 300 calls, 1 failed" in shown
    assert "during rolling restarts: 200 calls, 0 failed" in shown
    assert "UNAVAILABLE: lost" in shown


def test_a_little_of_it(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--kills", "2", "--same", "--rollings", "1", "--rate", "20", "--shedding", "off"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0, shown
    assert "within 2 s" in shown and "1 rolling restarts" in shown
    assert "during kills:" in shown and ", 0 failed" in shown
