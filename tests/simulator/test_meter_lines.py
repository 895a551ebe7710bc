"""Meters of a farm on serial lines, as our driver and mbpoll read them."""

import asyncio
import json
import re
import shutil

import pytest

from agent.cli import main
from drivers.errors import UnreachableError
from drivers.meters.registry import open_meter
from simulator.faults import FaultKind


def on(line: str, *units: int, **more: object) -> list[dict[str, object]]:
    return [
        {"id": f"m{unit}", "port": 0, "serial": 1000 + unit, "unit": unit, "line": line}
        | {"refresh_s": 0.1, "start_kwh": 100.0 * unit, "baud": 38400}
        | more
        for unit in units
    ]


def meter_at(site, position: int):
    return open_meter(
        site.network.meter_uri(position), meter_id="m", serial=None, rated_power_w=None
    )


@pytest.mark.parametrize("line", ["serial", "gateway"])
async def test_units_of_one_line_are_told_apart_and_say_what_the_plant_says(
    open_site, line: str
) -> None:
    site = await open_site(meters=on(line, 1, 2))
    assert site.network.meter_place(0) == site.network.meter_place(1)
    meters = [meter_at(site, 0), meter_at(site, 1)]
    for unit, meter in enumerate(meters, start=1):
        assert (await meter.identify()).serial == str(1000 + unit)
        reading = await meter.read()
        assert abs(reading.energy_import_wh - 100_000 * unit) < 1000
        assert reading.voltage_v is not None
    for meter in meters:
        await meter.close()


async def test_a_silent_meter_of_a_line_takes_nothing_from_its_neighbour(open_site) -> None:
    site = await open_site(meters=on("serial", 1, 2))
    first, second = meter_at(site, 0), meter_at(site, 1)
    site.farm.switch_fault(FaultKind.METER_SILENT, [1], is_active=True, value=None)
    with pytest.raises(UnreachableError):
        await second.read()
    assert (await first.read()).energy_import_wh > 0
    site.farm.switch_fault(FaultKind.METER_SILENT, [1], is_active=False, value=None)
    assert (await second.read()).energy_import_wh > (await first.read()).energy_import_wh
    await first.close()
    await second.close()


async def test_kwota_poll_reads_and_identifies_a_meter_on_a_serial_port(open_site, capsys) -> None:
    site = await open_site(meters=on("serial", 5, baud=115200))
    uri = site.network.meter_uri(0)
    assert uri.startswith("modbus+serial:///dev/pts/")

    def poll(*arguments: str) -> object:
        with pytest.raises(SystemExit) as end:
            main(["poll", *arguments, "--json"])
        assert not end.value.code
        return json.loads(capsys.readouterr().out)

    answer = await asyncio.to_thread(poll, uri)
    assert answer["identity"]["serial"] == "1005"
    proposals = await asyncio.to_thread(poll, uri.replace("profile=sdm630&", ""), "--identify")
    assert proposals[0]["profile"].startswith("sdm")


@pytest.mark.strangers
async def test_mbpoll_reads_a_meter_on_a_pty(open_site) -> None:
    mbpoll = shutil.which("mbpoll")
    if mbpoll is None:
        pytest.skip("NOT TESTED: mbpoll is not installed")
    site = await open_site(meters=on("serial", 3))
    # Input registers as big-endian floats, counted from 1: the import at 0x48 is number 73.
    arguments = ["-m", "rtu", "-a", "3", "-b", "38400", "-P", "none", "-t", "3:float", "-B"]
    process = await asyncio.create_subprocess_exec(
        mbpoll,
        *arguments,
        *["-r", "73", "-c", "1", "-1", "-o", "2", site.network.meter_place(0)],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode()
    found = re.search(r"\[73\]:\s+([\d.]+)", said)
    assert found is not None, said
    assert abs(float(found[1]) - 300.0) < 1.0
