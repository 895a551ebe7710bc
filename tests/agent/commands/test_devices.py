"""``kwota poll`` against a meter that answers on a real socket, written here from V1.8 of the
SDM630's protocol paper and sharing no code with the drivers."""

import asyncio
import contextlib
import json
import os
import re
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network

Polled = Callable[..., Coroutine[Any, Any, tuple[int, str, str]]]

INPUT, HOLDING = 4, 3
FLOATS = {
    (INPUT, 0x002A): 231.5,
    (INPUT, 0x0034): 480_123.0,
    (INPUT, 0x0046): 50.0,
    (INPUT, 0x0048): 123.25,
    (HOLDING, 0x001E): 0.0,
    (HOLDING, 0x0028): 2141.0,
}


def registers() -> dict[tuple[int, int], bytes]:
    """Every register that the meter has, two bytes each."""
    words: dict[tuple[int, int], bytes] = {(INPUT, address): b"\0\0" for address in range(0x0060)}
    for (function, address), value in FLOATS.items():
        raw = struct.pack(">f", value)
        words |= {(function, address): raw[:2], (function, address + 1): raw[2:]}
    serial = struct.pack(">I", 12345678)
    return words | {(HOLDING, 0xFC00): serial[:2], (HOLDING, 0xFC01): serial[2:]}


@contextlib.asynccontextmanager
async def meter() -> AsyncIterator[int]:
    words = registers()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                frame = await reader.readexactly(12)
                head, unit, function, start, count = struct.unpack(">4s2xBBHH", frame)
                wanted = [words.get((function, start + at)) for at in range(count)]
                if None in wanted:
                    body = bytes([unit, function | 0x80, 2])
                else:
                    data = b"".join(word for word in wanted if word is not None)
                    body = bytes([unit, function, len(data)]) + data
                writer.write(head + struct.pack(">H", len(body)) + body)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def test_a_meter_that_answers_is_shown_with_who_it_is_and_what_it_reads(
    polled: Polled,
) -> None:
    async with meter() as port:
        uri = f"modbus://127.0.0.1:{port}/1?profile=sdm630"
        code, out, err = await polled(uri)
        _, as_json, _ = await polled(uri, "--json")
    assert (code, err) == (0, "")
    assert "12345678" in out
    assert "123250" in out
    answer = json.loads(as_json)
    assert answer["identity"]["serial"] == "12345678"
    assert answer["reading"]["energy_import_wh"] == 123_250
    assert answer["reading"]["power_w"] == 480_123.0
    shown = {one["name"]: one for one in answer["quantities"]}
    assert shown["power"] == {"name": "power", "value": 480_123.0, "unit": "W", "fault": ""}
    assert {"energy_export", "current_l3", "voltage_l1", "power_factor"} <= shown.keys()
    assert "energy_export" in out


async def test_a_meters_own_clock_is_shown_with_how_far_it_is_ahead(polled: Polled) -> None:
    table = {"id": "site", "model": "pm5000", "port": 0, "serial": 7, "refresh_s": 0.1}
    file = {"machines": [{"model": "s21", "count": 0}], "meters": [table]}
    network = Network(farm=build_farm(FarmFile.model_validate(file), started_now()))
    network.farm.switch_fault(FaultKind.METER_CLOCK_OFF, [0], is_active=True, value=-700.0)
    await network.open()
    try:
        code, out, _ = await polled(network.meter_uri(0), "--json")
    finally:
        await network.close()
    clock = json.loads(out)["clock"]
    assert (code, sorted(clock)) == (0, ["ahead_s", "shows"])
    assert -702 < clock["ahead_s"] < -698


async def test_a_meter_is_proposed_a_profile_with_the_signs_of_it(
    polled: Polled,
) -> None:
    async with meter() as port:
        uri = f"modbus://127.0.0.1:{port}/1"
        code, out, err = await polled(uri, "--identify")
        _, as_json, _ = await polled(uri, "--identify", "--json")
        refused, _, words = await polled(f"{uri}?profile=sdm630", "--identify")
    assert (code, err) == (0, "")
    assert "sdm630" in out
    best = json.loads(as_json)[0]
    assert best["profile"] == "sdm630"
    assert {"register order is as it should be", "serial 12345678"} <= set(best["signs"])
    assert refused == 2
    assert "take the profile away" in words


async def test_raw_shows_the_bytes_of_the_whole_conversation_before_what_they_mean(
    polled: Polled,
) -> None:
    async with meter() as port:
        uri = f"modbus://127.0.0.1:{port}/1?profile=sdm630"
        code, out, err = await polled(uri, "--raw")
        _, as_json, _ = await polled(uri, "--raw", "--json")
    assert (code, err) == (0, "")
    # The first two bytes count requests from anywhere.
    asked = rf"12 bytes sent to 127\.0\.0\.1:{port}\n[0-9a-f]{{2}} [0-9a-f]{{2}} 00 00 00 06 01 03 "
    assert re.search(asked, out)
    assert out.index("bytes received from") < out.index("12345678")
    raw = json.loads(as_json)["raw"]
    assert [one["way"] for one in raw] == ["sent", "received"] * (len(raw) // 2)
    # Behind the transaction: protocol 0, six bytes, unit 1. The reply carries the same transaction.
    assert bytes.fromhex(raw[0]["hex"])[2:7] == b"\0\0\0\6\1"
    assert raw[0]["hex"][:4] == raw[1]["hex"][:4]
    assert raw[0]["text"].replace(" ", "") == raw[0]["hex"]


async def test_a_proposal_shows_its_bytes_as_well(polled: Polled) -> None:
    async with meter() as port:
        arguments = (f"modbus://127.0.0.1:{port}/1", "--identify", "--raw")
        code, out, _ = await polled(*arguments)
        _, as_json, _ = await polled(*arguments, "--json")
    assert code == 0
    assert out.index("bytes sent to") < out.index("may keep a purchase")
    answer = json.loads(as_json)
    assert answer["proposals"][0]["profile"] == "sdm630"
    assert answer["raw"][0]["way"] == "sent"


@asynccontextmanager
async def hall() -> AsyncIterator[Network]:
    document = {
        "addresses": {"base": f"127.{64 + os.getpid() % 64}.0.0", "has_web": False},
        "machines": [
            {"model": "s21", "count": 1},
            {"family": "whatsminer-v3", "model": "m60s", "count": 1},
        ],
        "meters": [{"id": "site", "port": 0, "serial": 12345678}],
    }
    network = Network(farm=build_farm(FarmFile.model_validate(document), started_now()))
    await network.open()
    try:
        yield network
    finally:
        await network.close()


async def test_a_machine_is_shown_with_pools_profiles_fans_and_faults(
    polled: Polled,
) -> None:
    async with hall() as network:
        for label in network.farm.labels:
            uri = f"{label.family}://{label.address}"
            code, out, err = await polled(uri)
            _, as_json, _ = await polled(uri, "--json")
            assert (code, err) == (0, "")
            details = json.loads(as_json)["details"]
            assert "identity" not in details
            assert {"pools", "profiles", "fan_speeds_rpm", "faults", "uptime_s"} <= details.keys()
            assert details["pools"][0]["url"] in out
            assert details["profiles"][0]["name"] in out
            assert ", ".join(map(str, details["fan_speeds_rpm"])) in out
        assert network.farm.plant.totals().commands == 0


async def test_the_bytes_are_shown_of_a_machine_that_answers_nonsense(
    polled: Polled,
) -> None:
    async with hall() as network:
        network.farm.switch_fault(FaultKind.MINER_GARBAGE, [0], is_active=True, value=None)
        uri = f"luxos://{network.farm.labels[0].address}"
        code, out, err = await polled(uri, "--raw")
        assert code == 3
        assert '{"command":"version"}\\n\n' in out
        assert "bytes received from" in out
        assert err.count("\n") == 1
        _, as_json, _ = await polled(uri, "--raw", "--json")
        assert json.loads(as_json)["raw"][0]["text"] == '{"command":"version"}\\n'


async def test_a_password_is_read_from_its_file_and_not_shown(
    polled: Polled, tmp_path: Path
) -> None:
    async with hall() as network:
        uri = f"whatsminer-v3://{network.farm.labels[1].address}"
        secret = tmp_path / "secret"
        # A word of every answer: only what is masked is missing.
        secret.write_text("miner\n")
        code, out, _ = await polled(uri, "--raw", "--password-file", str(secret))
        assert code == 0
        assert '"***":{' in out
        code, _, err = await polled(uri, "--raw", "--password-file", f"{secret}.not")
        assert code == 2
        assert "cannot be read" in err


def test_a_device_that_is_not_there_is_unreachable_and_a_bad_uri_is_wrong_input(
    terminal,
) -> None:
    for uri in ("luxos://127.0.0.1:1", "modbus://127.0.0.1:1/1?profile=sdm630"):
        shown = terminal.run("poll", uri, "--json")
        assert (shown.code, shown.out) == (3, "")
        assert shown.err.count("\n") == 1
    assert terminal.run("poll", "modbus://127.0.0.1:1/1", "--identify").code == 3
    for uri in ("x", "luxos://", "http://127.0.0.1", "modbus://127.0.0.1", "luxos://h:99999"):
        assert terminal.run("poll", uri).code == 2
