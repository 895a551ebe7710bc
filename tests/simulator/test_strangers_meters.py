"""Every simulated meter read by mbpoll, and every profile served by libmodbus.

mbpoll is libmodbus as a master: it knows neither our maps nor our frames. libmodbus as a slave
holds what the simulated meters of all models show, and our drivers read it from there.
"""

import asyncio
import ctypes
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.meters.registry import open_meter
from simulator.meter import Meter
from simulator.meter_maps import METER_MAPS
from simulator.meter_maps_more import MORE_METER_MAPS
from simulator.sdm630_map import Reporting, holding_registers, input_registers
from simulator.sunspec_map import SUNSPEC_MAPS

pytestmark = pytest.mark.strangers
METER = {"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}
BIG, LITTLE = ["-B"], []
# Power: function, type, order of words, address as in the frame, and what a count is worth in W.
POWER = {
    "sdm630": (3, "float", BIG, 0x0034, 1.0),
    "sdm72d-m-2": (3, "float", BIG, 0x0034, 1.0),
    "sdm120": (3, "float", BIG, 0x000C, 1.0),
    "iem3000": (4, "float", BIG, 0x0BF3, 1000.0),
    "pm5000": (4, "float", BIG, 3059, 1000.0),
    "em340": (4, "int", LITTLE, 0x0028, 0.1),
    "em530": (4, "int", LITTLE, 0x0028, 0.1),
    "em24-e1": (4, "int", LITTLE, 0x0028, 0.1),
    "em24-is": (3, "int", LITTLE, 0x0028, 0.1),
    "abb-b23": (4, "int", BIG, 0x5B14, 0.01),
    "abb-m4m": (4, "int", BIG, 0xCB1A, 1.0),
    "pac2200": (4, "float", BIG, 65, 1.0),
    "pac3200": (3, "float", BIG, 65, 1.0),
    "umg96": (4, "float", BIG, 19026, 1.0),
    "countis-e": (4, "int", BIG, 0xC568, 10.0),
    "diris-b30": (4, "int", BIG, 0x482C, 1.0),
    "dtsu666": (4, "float", BIG, 0x2012, 0.1 * 40),  # of the secondary side, behind 200/5 A
    "adw300": (4, "int", BIG, 36, 1.0),
    "pro380": (4, "float", BIG, 0x5012, 1000.0),
    "satec-pm130": (4, "int", LITTLE, 14336, 1000.0),
    "sunspec-213": (4, "float", BIG, 40000 + 92 + 28, 1.0),
}
SHOWN_W, SHOWN_KWH = 123_456.0, 98_765.4


def test_every_simulated_meter_is_read_by_mbpoll() -> None:
    models = {"sdm630", *METER_MAPS, *MORE_METER_MAPS}
    assert set(POWER) == models | {"sunspec-213"}  # the other SunSpec meters: by pysunspec2


@pytest.mark.parametrize("model", sorted(POWER))
async def test_mbpoll_reads_the_power_that_flows_and_that_we_read(open_site, model) -> None:
    program = shutil.which("mbpoll")
    if program is None:
        pytest.skip("NOT TESTED: mbpoll is not installed")
    function, kind, order, address, scale = POWER[model]
    site = await open_site(meters=[{**METER, "model": model}])
    uri = site.network.meter_uri(0)
    meter = open_meter(uri, meter_id="site", serial=None, rated_power_w=None)
    options = ["-m", "tcp", "-a", "1", "-c", "1", "-1", "-0", "-r", str(address)]
    async with asyncio.timeout(8.0):
        process = await asyncio.create_subprocess_exec(
            *[program, *options, "-t", f"{function}:{kind}", *order],
            *["-p", str(site.meter_port), "127.0.0.1"],
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        ours_w = (await meter.read()).power_w
    await meter.close()
    line = next(row for row in output.decode().splitlines() if row.startswith("["))
    theirs_w = float(line.split()[1]) * scale
    assert theirs_w == pytest.approx(ours_w, rel=0.02)
    step_w = 1000.0 if model == "satec-pm130" else 0.0
    assert theirs_w == pytest.approx(site.farm.plant.power_w, rel=0.02, abs=step_w)


def shown(model: str) -> dict[int, dict[int, int]]:
    """What a simulated meter holds at one moment, word by word, for functions 3 and 4."""
    meter = Meter(
        meter_id="m",
        serial=12345678,
        refresh_s=1.0,
        step_kwh=0.001,
        start_kwh=SHOWN_KWH,
        gain_error=0.0,
        next_refresh_s=0.0,
    )
    meter.publish(energy_wh=0.0, power_w=SHOWN_W)
    if model == "sdm630":
        inputs = {at: registers_of(input_registers, meter, at, 2) for at in range(0, 0x70, 2)}
        holdings = {at: registers_of(holding_registers, meter, at, 2) for at in (0x1E, 0x28)}
        holdings |= {0xFC00: registers_of(holding_registers, meter, 0xFC00, 4)}
        cells = {4: inputs, 3: holdings}
    else:
        one = {**METER_MAPS, **MORE_METER_MAPS, **SUNSPEC_MAPS}[model]
        cells = {key: {**rows, **one.alone} for key, rows in one.cells(meter).items()}
    return {
        function: {
            at + place: int.from_bytes(raw[2 * place : 2 * place + 2], "big")
            for at, raw in rows.items()
            for place in range(len(raw) // 2)
        }
        for function, rows in cells.items()
    }


def registers_of(read, meter: Meter, address: int, count: int) -> bytes:
    return read(meter, Reporting(), address, count)


@pytest.fixture(scope="module")
def slaves() -> Iterator[Callable[[str], int]]:
    """Starts a slave of libmodbus with what a model shows; answers with its port."""
    try:
        ctypes.CDLL("libmodbus.so.5")
    except OSError:
        pytest.skip("NOT TESTED: libmodbus is not installed (it comes with mbpoll)")
    program = [sys.executable, "-I", str(Path(__file__).with_name("libmodbus_slave.py"))]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True) as process:

        def start(model: str) -> int:
            process.stdin.write(json.dumps(shown(model)) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield start
        process.stdin.close()


@pytest.mark.parametrize("model", sorted({*POWER, *SUNSPEC_MAPS}))
async def test_our_driver_reads_libmodbus_with_what_a_meter_shows(slaves, model) -> None:
    port = slaves(model)
    profile = "sunspec" if model.startswith("sunspec") else model
    uri = f"modbus://127.0.0.1:{port}/1?profile={profile}"
    meter = open_meter(uri, meter_id="m", serial=None, rated_power_w=None)
    await meter.identify()
    reading = await meter.read()
    await meter.close()
    step_wh, step_w = (1000.0, 1000.0) if model == "satec-pm130" else (100.0, 0.0)
    assert reading.power_w == pytest.approx(SHOWN_W, rel=2e-3, abs=step_w)
    assert reading.energy_import_wh == pytest.approx(SHOWN_KWH * 1000.0, abs=step_wh + 1.0)
