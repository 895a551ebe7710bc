"""LuxOS over real sockets: framing, session lock, errors, writes that reach the plant."""

import asyncio
import json
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.luxos import LuxosFarm

CAPTURES = Path(__file__).parents[3] / "shared" / "captures" / "luxos-s19kpro"
READS = ("config", "devs", "events", "fans", "pools", "power", "profiles", "summary", "temps")


def status(document):
    return document["STATUS"][0]["STATUS"], document["STATUS"][0]["Code"]


def keys_of(value):
    """The keys of a document, lists by their first element."""
    if isinstance(value, dict):
        return {key: keys_of(inner) for key, inner in value.items()}
    if isinstance(value, list) and value:
        return [keys_of(value[0])]
    return type(value).__name__ if not isinstance(value, int | float) else "number"


@pytest.mark.parametrize("command", [*READS, "version"])
async def test_answers_have_the_keys_and_types_of_a_real_machine(open_site, command) -> None:
    recording = CAPTURES / f"{command}.json"
    if not recording.exists():
        pytest.skip(f"the recordings of a real machine are not beside the checkout: {recording}")
    site = await open_site()
    if command == "events":
        await site.order(0, "disableboard", "0")
    real, ours = json.loads(recording.read_text()), await site.ask(0, command)
    assert status(ours) == status(real)
    if command == "events":
        real["EVENTS"] = [row for row in real["EVENTS"] if row["Target"] == "BOARD"]
    assert keys_of(ours) == keys_of(real)


@pytest.mark.parametrize(
    ("request_bytes", "has_eof"),
    [
        (b'{"command":"version"}', False),
        (b'{"command":"version"}\n', False),
        (b'{"command":"version"}\x00', False),
        (b'{"command":"version"}', True),
        (b'{\n "command": "version"\n}', True),
    ],
)
async def test_a_request_ends_with_its_object_newline_nul_or_eof(
    open_site, request_bytes, has_eof
) -> None:
    site = await open_site()
    reply = await site.raw(0, request_bytes, has_eof=has_eof)
    assert reply.endswith(b"}\x00")
    assert json.loads(reply[:-1])["VERSION"][0]["Type"] == "Antminer S19k Pro"


async def test_a_request_in_single_bytes_is_answered(open_site) -> None:
    site = await open_site()
    async with asyncio.timeout(5.0):
        reader, writer = await asyncio.open_connection(site.address(0), 4028)
        for byte in b'{"command":"power"}':
            writer.write(bytes([byte]))
            await asyncio.sleep(0.002)
        assert json.loads((await reader.read())[:-1])["POWER"][0]["PSU"] is False
        writer.close()


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", 23),
        (b"hello", 23),
        (b"{]\n", 23),
        (b"[1,2]", 23),
        (b'{"command":17}', 14),
        (b'{"cmd":"summary"}', 14),
        (b'{"command":"fly"}', 14),
        (b'{"command":"' + b"x" * 300 + b'"}', 14),
        (b'{"command":"reboot","parameter":["a"]}', 403),
        (b'{"command":"healthchipget","parameter":"7"}', 403),
        (b'{"command":"' + b"[" * 30_000, 23),
    ],
)
async def test_nonsense_gets_an_error_answer(open_site, request_bytes, code) -> None:
    site = await open_site()
    reply = await site.raw(0, request_bytes)
    assert status(json.loads(reply[:-1])) == ("E", code)


async def test_half_a_request_gets_an_error_after_a_while_and_never_silence(open_site) -> None:
    site = await open_site()
    site.network.dialects["luxos"].patience_s = 0.4
    started_s = time.monotonic()
    reply = await site.raw(0, b'{"command":')
    assert status(json.loads(reply[:-1])) == ("E", 23)
    assert 0.3 < time.monotonic() - started_s < 3.0


def standing_machine() -> LuxosFarm:
    document = {"machines": [{"model": "s21", "count": 1}], "meters": [{"id": "m", "serial": 1}]}
    farm = build_farm(FarmFile.model_validate(document), started_now())
    return LuxosFarm(farm=farm)


MACHINE = standing_machine()
WORDS = st.sampled_from(["curtail", "profileset", "reboot", "atmset", "devs", "healthchipget"])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_one_json_answer(received) -> None:
    reply = MACHINE.reply(0, received)
    assert reply is not None
    assert json.loads(reply[:-1])["id"] == 1


@settings(max_examples=300, deadline=None)
@given(WORDS, st.lists(st.text(max_size=12), max_size=4))
def test_any_parameters_under_a_valid_session_give_one_json_answer(command, items) -> None:
    MACHINE.sessions.drop(0)
    session_id = json.loads(MACHINE.reply(0, b'{"command":"logon"}')[:-1])["SESSION"][0]
    parameter = ",".join([session_id["SessionID"], *items])
    request = json.dumps({"command": command, "parameter": parameter}).encode()
    assert status(json.loads(MACHINE.reply(0, request)[:-1]))[0] in {"S", "E"}


async def test_joined_commands_are_answered_under_their_names(open_site) -> None:
    site = await open_site()
    document = await site.ask(0, "summary+devs+power+fly")
    assert document["summary"][0]["SUMMARY"][0]["GHS av"] > 0
    assert len(document["devs"][0]["DEVS"]) == 3
    assert status(document["power"][0]) == ("S", 311)
    assert status(document["fly"][0]) == ("E", 14)
    assert document["id"] == 1


async def test_writes_cannot_be_joined(open_site) -> None:
    site = await open_site()
    document = await site.ask(0, "curtail+rebootdevice", "x,sleep")
    assert status(document["curtail"][0]) == ("E", 14)
    assert site.farm.plant.machines[0].is_awake


async def test_a_second_session_is_refused_until_the_first_one_ends(open_site) -> None:
    site = await open_site()
    first = (await site.ask(0, "logon"))["SESSION"][0]["SessionID"]
    busy = await site.ask(0, "logon")
    assert status(busy) == ("E", 402)
    assert busy["STATUS"][0]["Msg"] == "Another session is active"
    assert (await site.ask(0, "session"))["SESSION"][0]["SessionID"] == first
    assert status(await site.ask(1, "logon")) == ("S", 316)
    assert status(await site.ask(0, "logoff", first))[0] == "S"
    assert status(await site.ask(0, "logon")) == ("S", 316)


async def test_an_idle_session_is_dropped_and_use_refreshes_it(open_site) -> None:
    site = await open_site()
    session_id = (await site.ask(0, "logon"))["SESSION"][0]["SessionID"]
    for _ in range(3):
        await asyncio.sleep(0.3)
        assert status(await site.ask(0, "ledset", f"{session_id},red,blink"))[0] == "S"
    await asyncio.sleep(0.6)
    assert status(await site.ask(0, "ledset", f"{session_id},red,off")) == ("E", 401)
    assert status(await site.ask(0, "logon")) == ("S", 316)


@pytest.mark.parametrize("parameter", [None, "wrongid1,0", ",0"])
async def test_a_write_without_the_right_session_changes_nothing(open_site, parameter) -> None:
    site = await open_site()
    await site.ask(0, "logon")
    document = await site.ask(0, "disableboard", parameter)
    assert status(document) == ("E", 401)
    assert site.farm.plant.machines[0].counters.board_switches == 0


async def test_a_disabled_board_shows_in_devs_config_and_watts(open_site) -> None:
    site = await open_site()
    before_w = (await site.ask(0, "power"))["POWER"][0]["Watts"]
    assert status(await site.order(0, "disableboard", "1"))[0] == "S"
    await asyncio.sleep(0.15)
    rows = {row["ID"]: row for row in (await site.ask(0, "devs"))["DEVS"]}
    assert [rows[board]["IsUserShutdown"] for board in range(3)] == [False, True, False]
    assert rows[1]["MHS 5s"] == 0.0
    after_w = (await site.ask(0, "power"))["POWER"][0]["Watts"]
    assert before_w - after_w == pytest.approx(905, rel=0.06)
    assert status(await site.order(0, "enableboard", "1"))[0] == "S"
    rows = {row["ID"]: row for row in (await site.ask(0, "devs"))["DEVS"]}
    assert rows[1]["IsRamping"] is True
    await asyncio.sleep(0.55)
    rows = {row["ID"]: row for row in (await site.ask(0, "devs"))["DEVS"]}
    assert rows[1]["IsRamping"] is False
    assert site.farm.plant.machines[0].counters.board_switches == 2


async def test_sleep_shows_in_config_and_refuses_boards(open_site) -> None:
    site = await open_site()
    document = await site.order(0, "curtail", "sleep")
    assert status(document) == ("S", 335)
    assert document["CURTAIL"][0]["Action"] == "sleep mode"
    config = (await site.ask(0, "config"))["CONFIG"][0]
    assert (config["CurtailMode"], config["IsPowerSupplyOn"]) == ("Sleep", False)
    assert status(await site.order(0, "enableboard", "1"))[0] == "E"
    assert status(await site.order(0, "reboot", "1"))[0] == "E"
    await asyncio.sleep(0.25)
    assert (await site.ask(0, "power"))["POWER"][0]["Watts"] < 30
    await site.order(0, "curtail", "wakeup", "mode=unsafe")
    assert (await site.ask(0, "config"))["CONFIG"][0]["CurtailMode"] == "None"
    await asyncio.sleep(0.25)
    assert (await site.ask(0, "power"))["POWER"][0]["Watts"] > 2000
    assert site.farm.plant.machines[0].counters.mining_restarts == 1


@pytest.mark.parametrize(
    ("items", "profile", "step"),
    [(("290MHz",), "290MHz", "-12"), (("-2",), "540MHz", "-2"), (("0", "615MHz"), "615MHz", "1")],
)
async def test_a_profile_is_chosen_by_name_or_by_relative_step(
    open_site, items, profile, step
) -> None:
    site = await open_site()
    document = await site.order(0, "profileset", *items)
    assert status(document) == ("S", 321)
    assert document["PROFILE"][0]["Profile"] == profile
    config = (await site.ask(0, "config"))["CONFIG"][0]
    assert (config["Profile"], config["ProfileStep"]) == (profile, step)


@pytest.mark.parametrize("name", ["3250W", "104THs", "3.2kW", "nothing", "+30", "-99"])
async def test_profiles_that_are_not_offered_are_refused(open_site, name) -> None:
    site = await open_site()
    assert status(await site.order(0, "profileset", name))[0] == "E"
    assert (await site.ask(0, "config"))["CONFIG"][0]["Profile"] == "default"


async def test_automatic_tuning_overrides_a_chosen_profile(open_site) -> None:
    site = await open_site()
    assert status(await site.order(0, "atmset", "enabled=true")) == ("S", 340)
    assert (await site.ask(0, "atm"))["ATM"][0]["Enabled"] is True
    assert status(await site.order(0, "profileset", "290MHz"))[0] == "S"
    config = (await site.ask(0, "config"))["CONFIG"][0]
    assert (config["Profile"], config["IsAtmEnabled"]) == ("default", True)


async def test_a_rebooting_machine_gives_no_answer_and_forgets_its_session(open_site) -> None:
    site = await open_site()
    session_id = (await site.ask(0, "logon"))["SESSION"][0]["SessionID"]
    assert status(await site.ask(0, "rebootdevice", session_id))[0] == "S"
    with suppress(ConnectionResetError):  # the same to a caller: no answer
        assert await site.raw(0, b'{"command":"version"}') == b""
    await asyncio.sleep(0.6)
    assert status(await site.ask(0, "logon")) == ("S", 316)
    assert site.farm.plant.machines[0].counters.mining_restarts == 1


async def test_a_machine_that_ignores_accepts_and_changes_nothing(open_site) -> None:
    site = await open_site()
    site.farm.faults.switch(FaultKind.MINER_IGNORES, [0], is_active=True)
    assert status(await site.order(0, "curtail", "sleep")) == ("S", 335)
    assert (await site.ask(0, "config"))["CONFIG"][0]["CurtailMode"] == "None"
    assert site.farm.plant.machines[0].counters.commands == 1


async def test_a_silent_machine_takes_the_connection_and_says_nothing(open_site) -> None:
    site = await open_site()
    site.farm.faults.switch(FaultKind.MINER_SILENT, [0], is_active=True)
    reader, writer = await asyncio.open_connection(site.address(0), 4028)
    writer.write(b'{"command":"version"}')
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await reader.read()
    writer.close()
    assert status(await site.ask(1, "version")) == ("S", 22)


async def test_a_garbling_machine_sends_html_half_json_and_nul_in_turn(open_site) -> None:
    site = await open_site()
    site.farm.faults.switch(FaultKind.MINER_GARBAGE, [0], is_active=True)
    replies = {await site.raw(0, b'{"command":"version"}') for _ in range(3)}
    assert len(replies) == 3
    assert b"\x00" in replies
    for reply in replies:
        with pytest.raises(ValueError):
            json.loads(reply.rstrip(b"\x00"))


async def test_a_machine_that_is_gone_refuses_connections_until_it_is_back(open_site) -> None:
    site = await open_site()
    site.farm.switch_fault(FaultKind.MINER_GONE, [1], is_active=True, value=None)
    await site.network.apply_faults()
    with pytest.raises(ConnectionRefusedError):
        await site.ask(1, "version")
    assert status(await site.ask(0, "version")) == ("S", 22)
    site.farm.clear_faults()
    await site.network.apply_faults()
    assert status(await site.ask(1, "version")) == ("S", 22)


async def test_a_restless_machine_wakes_by_itself(open_site) -> None:
    site = await open_site()
    site.farm.faults.switch(FaultKind.MINER_WAKES, [0], is_active=True)
    await site.order(0, "curtail", "sleep")
    site.farm.step(site.farm.clock.now_s())
    assert not site.farm.plant.machines[0].is_awake
    await asyncio.sleep(0.25)
    site.farm.step(site.farm.clock.now_s())
    assert site.farm.plant.machines[0].is_awake


async def test_boards_are_not_listed_in_the_order_of_their_numbers(open_site) -> None:
    site = await open_site()
    assert [row["ID"] for row in (await site.ask(0, "devs"))["DEVS"]] == [2, 0, 1]


async def test_every_machine_has_its_own_mac_serial_and_model(open_site) -> None:
    site = await open_site(machines=[{"model": "s21", "count": 260}])
    macs = {label.mac for label in site.farm.labels}
    serials = {label.serial for label in site.farm.labels}
    assert len(macs) == len(serials) == 260
    assert site.address(249).endswith(".0.250")
    assert site.address(250).endswith(".1.1")
    config = (await site.ask(259, "config"))["CONFIG"][0]
    assert config["MACAddr"] == site.farm.labels[259].mac
    assert config["Model"] == "Antminer S21"
