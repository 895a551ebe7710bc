"""The clock of the site's meter is a quarter of an hour slow: it is told, nothing goes by it."""

from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

REPO = Path(__file__).resolve().parents[2]
SLOW_S = 900.0


def test_a_meters_clock_that_is_off_is_told_in_alarm_record_and_readings_and_changes_nothing(
    site,
) -> None:
    text = (REPO / "simulator" / "farms" / "demo.toml").read_text()
    assert text.count("port = 5020") == 1
    farm = site.directory / "farm.toml"
    farm.write_text(text.replace("port = 5020", 'port = 5020\nmodel = "iem3000"\nstep_kwh = 0.001'))
    site.start_broker()
    site.start_farm(4, farm)
    site.fault("meter_clock_off", value=-SLOW_S)
    site.start_agent()

    def raised() -> set[str]:
        return {alarm["code"] for alarm in site.api("status")["alarms"]}

    site.wait_for(lambda: "METER_CLOCK" in raised(), 40, "nobody told of the clock")
    told = [one["words"] for one in site.api("status")["alarms"] if one["code"] == "METER"]
    assert told == []
    assert site.api("status")["mode"] == "following"
    site.agent.stop()

    (found,) = [one for one in site.records("clock") if one["d"]["what"] == "meter"]
    assert (found["s"], found["d"]["quality"]) == ("site", "U")  # one look: nobody knows if it goes
    assert abs(found["d"]["deviation_ms"] + SLOW_S * 1000) < 2_000
    readings = site.records("meter")
    letters = [reading["d"].get("more", {}).get("clock") for reading in readings]
    first = letters.index("U")
    assert set(letters[:first]) <= {None}
    assert set(letters[first:]) == {"U"}
    # All stamps are ours, whatever it shows.
    assert all(abs(one["t"] / 1e6 - one["m"] / 1e9 - offset_s(readings[0])) < 1 for one in readings)
    assert site.verify()[0] == 0


def offset_s(record) -> float:
    """From the steady clock to the wall's, by a record's own two stamps."""
    return record["t"] / 1e6 - record["m"] / 1e9
