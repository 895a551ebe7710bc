"""What the verbs show where one agent keeps several meter points."""

import json

import pytest

from agent.status.view import PointView


@pytest.fixture
def farm(daemon):
    """The daemon of the other tests with a second point beside its own."""
    view = daemon.current
    shared = PointView.model_fields.keys() & type(view.status).model_fields.keys()
    fields = {name: getattr(view.status, name) for name in shared}
    points = [
        PointView(
            meter_point=name, meter_id=f"meter-{name}", rated_power_w=1e6, **fields | {"mode": mode}
        )
        for name, mode in (("north", "following"), ("south", "blind"))
    ]
    limits = [
        limit.model_copy(update={"meter_point": name})
        for limit, name in zip(view.status.limits, ("north", "south"), strict=True)
    ]
    alarms = [
        alarm.model_copy(update={"meter_point": "south"}) for alarm in view.status.alarms
    ] + list(view.status.alarms)
    daemon.current = view.model_copy(
        update={
            "status": view.status.model_copy(
                update={"meter_points": points, "limits": limits, "alarms": alarms}
            )
        }
    )
    return daemon


@pytest.mark.usefixtures("farm")
async def test_the_overview_has_a_line_for_each_point(terminal) -> None:
    shown = await terminal.ask("status")
    lines = [line.split(maxsplit=1) for line in shown.out.splitlines() if line]
    (north,) = [line[1] for line in lines if line[0] == "north"]
    (south,) = [line[1] for line in lines if line[0] == "south"]
    assert north.startswith("following: 480.1 kW of 500.0 kW allowed, 600.000 of 1000.000 kWh left")
    assert south.startswith("blind: ")
    assert "south: site" in shown.out


@pytest.mark.usefixtures("farm")
async def test_lists_name_the_point_of_each_row(terminal) -> None:
    shown = await terminal.ask("limit", "list")
    assert "▶  north" in shown.out or "▶ north" in shown.out
    assert "south" in shown.out
    bought = await terminal.ask("transactions", "list")
    assert "mp-1" in bought.out


@pytest.mark.usefixtures("farm")
async def test_the_limits_of_one_point_are_asked_for_by_its_name(terminal) -> None:
    shown = await terminal.ask("limit", "list", "--meter-point", "south", "--json")
    assert [row["id"] for row in json.loads(shown.out)] == ["o-7"]
    strange = await terminal.ask("limit", "list", "--meter-point", "east")
    assert strange.code == 2
    assert "there is north, south" in strange.err


@pytest.mark.usefixtures("daemon")
async def test_with_one_point_nobody_has_to_read_its_name(terminal) -> None:
    shown = await terminal.ask("limit", "list")
    assert "point" not in shown.out
    assert "mp-1" not in (await terminal.ask("transactions", "list")).out
