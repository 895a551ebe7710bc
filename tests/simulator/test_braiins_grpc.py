"""Braiins OS on gRPC: called by grpclib with the stubs that pyasic generated from the vendor."""

import asyncio
import importlib
import os
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from grpclib import GRPCError, Status
from grpclib.client import Channel
from grpclib.exceptions import StreamTerminatedError

from simulator import braiins_table
from simulator.braiins_grpc import METHODS
from simulator.braiins_messages import MessageError, decoded, encoded
from simulator.braiins_table import BraiinsTable
from simulator.farm_file import FarmFileError, load_farm_file
from simulator.faults import FaultKind

with warnings.catch_warnings():
    # pyasic declares its settings in pydantic's old way.
    warnings.simplefilter("ignore")
    stubs = importlib.import_module("pyasic.web.braiins_os.boser")

pytestmark = [pytest.mark.strangers, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

PORT = 50052  # not the usual one, which the tests of other projects' clients take
TUNERS = ("power", "hashrate", "off")
QUICK_RAMPING = "/braiins.bos.v1.PerformanceService/SetQuickRamping"
# Younger than the stubs (release 1.3.0 of the API): this method, and a field or two of these.
NEWER = ("HashboardConstraints", "HashboardPerformanceConfiguration")
# What a call needs so that it is no refusal; all others are called without anything.
ASKED: dict[str, dict[str, Any]] = {
    "SetPowerTarget": {"power_target": stubs.Power(watt=2500)},
    "EnableHashboards": {"hashboard_ids": ["2"]},
    "DisableHashboards": {"hashboard_ids": ["2"]},
    "Login": {"username": "root", "password": "farm-pass"},
}
RENAMED = {"GetActivePerformanceMode": "GetPerformanceMode"}
RESPONSES = {
    "GetActivePerformanceMode": "PerformanceMode",
    "GetApiVersion": "ApiVersion",
    "GetLocateDeviceStatus": "LocateDeviceStatusResponse",
    "SetLocateDeviceStatus": "LocateDeviceStatusResponse",
}

Call = Callable[..., Awaitable[Any]]


@pytest.fixture
async def opened(open_site: Any) -> Any:
    """Opens a farm of two machines; gives it with a function that calls the first."""
    channels: list[Channel] = []

    async def open_it(**table: Any) -> tuple[Any, Call]:
        site = await open_site(
            addresses={
                "base": f"127.{192 + os.getpid() % 60}.0.0",
                "web_port": 8080,
                "grpc_port": PORT,
            },
            braiins=table,
            machines=[{"family": "braiins", "model": "s19-xp", "count": 2}],
            spread={"reporting": 0.0, "tolerance": 0.0},
        )
        channel = Channel(site.address(0), PORT)
        channels.append(channel)

        async def call(path: str, *, token: str = "", asked: Any = None) -> Any:
            name = path.rpartition("/")[2]
            kind = getattr(stubs, f"{RENAMED.get(name, name)}Request", None)
            kind = stubs.ApiVersionRequest if name == "GetApiVersion" else kind
            metadata = {"authorization": token} if token else {}
            async with channel.request(
                path,
                stubs.grpclib.const.Cardinality.UNARY_UNARY,
                kind,
                getattr(stubs, RESPONSES.get(name, f"{name}Response")),
                metadata=metadata,
                timeout=5.0,
            ) as stream:
                await stream.send_message(kind(**(asked or {})), end=True)
                answer = await stream.recv_message()
                if name == "Login":
                    assert stream.initial_metadata["authorization"] == answer.token
                return answer

        return site, call

    yield open_it
    for channel in channels:
        channel.close()


async def token_of(call: Call) -> str:
    answer = await call("/braiins.bos.v1.AuthenticationService/Login", asked=ASKED["Login"])
    assert answer.timeout_s == 3600
    return answer.token


def assert_known(message: Any) -> None:
    """No number in it that the vendor's own message has no field for."""
    kind = type(message).__name__
    assert kind in NEWER or message._unknown_fields == b"", kind
    for name in message._betterproto.sorted_field_names:
        try:
            value = getattr(message, name)
        except AttributeError:
            continue  # one of several, and not this one
        for part in value if isinstance(value, list) else [value]:
            if hasattr(part, "_unknown_fields"):
                assert_known(part)


@pytest.mark.parametrize("tuner", TUNERS)
@pytest.mark.parametrize("firmware", ["25.05.1", "26.04"])
async def test_every_method_answers_in_the_vendors_own_messages(opened, tuner, firmware) -> None:
    _, call = await opened(tuner=tuner, firmware=firmware)
    token = await token_of(call)
    last = "/braiins.bos.v1.ActionsService/Reboot"
    for path in (*sorted(METHODS.keys() - {QUICK_RAMPING, last}, reverse=True), last):
        name = path.rpartition("/")[2]
        if name == "SetPowerTarget" and tuner != "power":
            with pytest.raises(GRPCError, match="not active") as caught:
                await call(path, token=token, asked=ASKED[name])
            assert caught.value.status is Status.FAILED_PRECONDITION
            continue
        assert_known(await call(path, token=token, asked=ASKED.get(name)))


async def test_rest_and_grpc_say_the_same(opened) -> None:
    site, call = await opened()
    token = await token_of(call)
    label, machine = site.farm.labels[0], site.farm.plant.machines[0]
    details = await call("/braiins.bos.v1.MinerService/GetMinerDetails", token=token)
    assert (details.mac_address, details.serial_number) == (label.mac, label.serial)
    assert (details.status, details.miner_identity.miner_model) == (2, "Antminer S19 XP")
    assert details.psu_info.version == 117
    stats = await call("/braiins.bos.v1.MinerService/GetMinerStats", token=token)
    now_s = site.farm.clock.now_s()
    assert stats.power_stats.approximated_consumption.watt == machine.reported_w(now_s)
    boards = (await call("/braiins.bos.v1.MinerService/GetHashboards", token=token)).hashboards
    assert [board.serial_number for board in boards] == list(label.board_serials)
    assert [board.chips_count for board in boards] == [110] * 3
    assert sum(
        board.stats.real_hashrate.last_1_m.gigahash_per_second for board in boards
    ) == pytest.approx(140_000.0)
    fans = (await call("/braiins.bos.v1.CoolingService/GetCoolingState", token=token)).fans
    assert [fan.position for fan in fans] == [0, 1, 2, 3]
    limits = await call("/braiins.bos.v1.ConfigurationService/GetConstraints", token=token)
    least_w = min(point.watts for point in machine.model.profiles)
    assert limits.tuner_constraints.power_target.min.watt == least_w


async def test_calls_move_the_plant_and_count_as_commands(opened) -> None:
    site, call = await opened()
    token = await token_of(call)
    machine = site.farm.plant.machines[0]
    performance = "/braiins.bos.v1.PerformanceService"
    target = {"save_action": 3, "power_target": stubs.Power(watt=2345)}
    said = await call(f"{performance}/SetPowerTarget", token=token, asked=target)
    assert (said.power_target.watt, machine.point.watts) == (2345, 2345)
    mode = await call(f"{performance}/GetActivePerformanceMode", token=token)
    assert mode.tuner_mode.power_target.power_target.watt == 2345
    miner = "/braiins.bos.v1.MinerService"
    off = await call(f"{miner}/DisableHashboards", token=token, asked={"hashboard_ids": ["2"]})
    assert [(board.id, board.is_enabled) for board in off.hashboards] == [("2", False)]
    assert [board.is_enabled for board in machine.boards] == [True, False, True]
    actions = "/braiins.bos.v1.ActionsService"
    assert not (await call(f"{actions}/PauseMining", token=token)).already_paused
    assert not machine.is_awake
    assert (await call(f"{actions}/PauseMining", token=token)).already_paused
    assert not (await call(f"{actions}/ResumeMining", token=token)).already_mining
    assert machine.is_awake
    assert machine.counters.commands == 5


async def test_ramps_are_set_in_bytes_written_by_hand(opened) -> None:
    site, _ = await opened(asks_login=False)
    channel = Channel(site.address(0), PORT, codec=Bytes())
    try:
        # save and apply, 9 s up, 4 s down; then what is set: 9 s up, 4 s down
        said = await sent_raw(channel, QUICK_RAMPING, b"\x08\x02\x10\x09\x18\x04")
    finally:
        channel.close()
    timings = site.farm.plant.machines[0].timings
    assert (said, timings.wake_s, timings.sleep_s) == (b"\x08\x09\x10\x04", 9.0, 4.0)


async def test_a_target_that_is_only_saved_leaves_the_machine_as_it_is(opened) -> None:
    site, call = await opened()
    token = await token_of(call)
    path = "/braiins.bos.v1.PerformanceService/SetPowerTarget"
    target = {"save_action": 1, "power_target": stubs.Power(watt=2345)}
    assert (await call(path, token=token, asked=target)).power_target.watt == 2345
    assert site.farm.plant.machines[0].point.watts == 3010


@pytest.mark.parametrize(
    ("path", "asked", "status", "words"),
    [
        ("PerformanceService/SetPowerTarget", {"power_target": {"watt": 9}}, 9, "between 1806"),
        ("MinerService/EnableHashboards", {"hashboard_ids": ["8"]}, 9, "unknown hashboard"),
        ("AuthenticationService/Login", {"username": "root", "password": "x"}, 16, "credentials"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_words(
    opened, path, asked, status, words
) -> None:
    _, call = await opened()
    token = await token_of(call)
    if "power_target" in asked:
        asked = {"power_target": stubs.Power(**asked["power_target"])}
    with pytest.raises(GRPCError, match=words) as caught:
        await call(f"/braiins.bos.v1.{path}", token=token, asked=asked)
    assert caught.value.status.value == status


@pytest.mark.parametrize("token", ["", "not-a-token"])
async def test_all_but_version_and_login_need_a_token(opened, token) -> None:
    site, call = await opened()
    assert (await call("/braiins.bos.ApiVersionService/GetApiVersion")).major == 1
    for path in METHODS.keys() - {
        "/braiins.bos.ApiVersionService/GetApiVersion",
        "/braiins.bos.v1.AuthenticationService/Login",
        QUICK_RAMPING,
    }:
        with pytest.raises(GRPCError) as caught:
            await call(path, token=token)
        assert caught.value.status is Status.UNAUTHENTICATED
    assert site.farm.plant.machines[0].counters.commands == 0


async def test_a_machine_without_login_and_a_method_that_is_not_there(opened) -> None:
    _, call = await opened(asks_login=False)
    assert (await call("/braiins.bos.v1.MinerService/GetMinerDetails")).hostname
    with pytest.raises(GRPCError, match="there is no") as caught:
        await call("/braiins.bos.v1.AuthenticationService/SetPassword")
    assert caught.value.status is Status.UNIMPLEMENTED


async def test_many_calls_at_once_on_one_connection_exceed_no_window(opened) -> None:
    _, call = await opened(answer_delay_s=0.01)
    token = await token_of(call)
    path = "/braiins.bos.v1.MinerService/GetHashboards"
    answers = await asyncio.gather(*(call(path, token=token) for _ in range(90)))
    assert all(len(answer.hashboards) == 3 for answer in answers)
    for _ in range(60):  # 200 kB more, where a window is 64 kB until the caller widens it
        assert len((await call(path, token=token)).hashboards) == 3


async def test_silence_lasts_as_long_as_the_caller_waits(opened) -> None:
    site, call = await opened(asks_login=False)
    site.farm.faults.switch(FaultKind.MINER_SILENT, (0,), is_active=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await call("/braiins.bos.v1.MinerService/GetMinerDetails")
    site.farm.faults.clear()
    assert (await call("/braiins.bos.v1.MinerService/GetMinerDetails")).hostname


async def test_garbage_is_no_http_2(opened) -> None:
    site, call = await opened(asks_login=False)
    site.farm.faults.switch(FaultKind.MINER_GARBAGE, (0,), is_active=True)
    with pytest.raises((StreamTerminatedError, GRPCError, ConnectionError)):
        await call("/braiins.bos.v1.MinerService/GetMinerDetails")


async def test_a_rebooting_board_cuts_its_callers_and_comes_back(opened) -> None:
    site, call = await opened(asks_login=False)
    await call("/braiins.bos.v1.ActionsService/Reboot")
    path = "/braiins.bos.v1.MinerService/GetMinerDetails"
    with pytest.raises((StreamTerminatedError, ConnectionError)):
        await call(path)
    site.farm.plant.machines[0].rebooting_until_s = site.farm.clock.now_s()
    assert (await call(path)).hostname


async def exchanged(site: Any, sent: bytes) -> bytes:
    async with asyncio.timeout(5.0):
        reader, writer = await asyncio.open_connection(site.address(0), PORT)
        writer.write(sent)
        got = await reader.read()
        writer.close()
        return got


async def test_what_is_no_http_2_ends_its_own_connection_alone(opened) -> None:
    site, call = await opened(asks_login=False)
    for sent in (b"GET / HTTP/1.1\r\n\r\n" * 3, b"\0" * 64, os.urandom(4096)):
        assert len(await exchanged(site, sent)) < 200
    assert (await call("/braiins.bos.v1.MinerService/GetMinerDetails")).hostname


async def test_a_message_that_is_none_is_refused(opened) -> None:
    site, _ = await opened(asks_login=False)
    channel = Channel(site.address(0), PORT, codec=Bytes())
    path = "/braiins.bos.v1.PerformanceService/SetPowerTarget"
    try:
        for sent, status in ((b"\xff\xff", Status.INTERNAL), (b"x" * 70_000, 8)):
            with pytest.raises(GRPCError) as caught:
                await sent_raw(channel, path, sent)
            assert caught.value.status is Status(status)
    finally:
        channel.close()


class Bytes(stubs.grpclib.encoding.base.CodecBase):
    """Messages as they are."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return message

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


async def sent_raw(channel: Channel, path: str, sent: bytes) -> bytes:
    unary = stubs.grpclib.const.Cardinality.UNARY_UNARY
    async with channel.request(path, unary, bytes, bytes, timeout=5.0) as stream:
        await stream.send_message(sent, end=True)
        return await stream.recv_message()


def test_an_absent_value_is_no_zero_and_an_unknown_key_no_message() -> None:
    assert encoded("FanState", {"position": 0, "rpm": 0}) == b"\x08\x00"
    assert encoded("FanState", {"position": None, "rpm": 0}) == b""
    assert decoded("Power", encoded("Power", {"watt": 2**63})).watt == 2**63
    with pytest.raises(Exception, match="wat"):
        encoded("Power", {"wat": 1})
    with pytest.raises(MessageError, match="no Power"):
        decoded("Power", b"\x08")


def test_without_the_packages_a_farm_has_no_grpc_and_says_so_where_it_is_asked_for(
    monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(braiins_table, "find_spec", lambda name: None)
    assert not BraiinsTable().has_grpc
    path = tmp_path / "farm.toml"
    path.write_text("[braiins]\nhas_grpc = true\n")
    with pytest.raises(FarmFileError, match=r"requirements/demo\.txt: h2 and protobuf"):
        load_farm_file(path)
