"""``kwota poll`` against a meter that answers on a real socket, written here from V1.8 of the
SDM630's protocol paper and sharing no code with the drivers."""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator

import pytest

from agent.cli import main

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


async def polled(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    def run() -> int:
        with pytest.raises(SystemExit) as end:
            main(["poll", *arguments])
        return int(end.value.code or 0)

    code = await asyncio.to_thread(run)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


async def test_a_meter_that_answers_is_shown_with_who_it_is_and_what_it_reads(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with meter() as port:
        uri = f"modbus://127.0.0.1:{port}/1?profile=sdm630"
        code, out, err = await polled(capsys, uri)
        _, as_json, _ = await polled(capsys, uri, "--json")
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


async def test_a_meter_is_proposed_a_profile_with_the_signs_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with meter() as port:
        uri = f"modbus://127.0.0.1:{port}/1"
        code, out, err = await polled(capsys, uri, "--identify")
        _, as_json, _ = await polled(capsys, uri, "--identify", "--json")
        refused, _, words = await polled(capsys, f"{uri}?profile=sdm630", "--identify")
    assert (code, err) == (0, "")
    assert "sdm630" in out
    best = json.loads(as_json)[0]
    assert best["profile"] == "sdm630"
    assert {"register order is as it should be", "serial 12345678"} <= set(best["signs"])
    assert refused == 2
    assert "take the profile away" in words


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
