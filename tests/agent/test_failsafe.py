"""The failsafe against machines that speak LuxOS on loopback, sound and faulty ones."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from agent.failsafe import (
    Bounds,
    Inventory,
    Machine,
    Relay,
    Sleeper,
    open_feeds,
    read_inventory,
)

BOUNDS = Bounds(machine_s=4.0, total_s=12.0, pause_s=0.05)


class StandIn:
    """One machine at a port of its own: the LuxOS answers that a sleep needs, and faults."""

    def __init__(self, number: int) -> None:
        self.name = f"r1-s{number:02d}"
        self.mac = f"02:00:00:00:00:{number:02x}"
        self.port = 0
        self.is_asleep = False
        self.ignores_commands = False
        self.is_busy_times = 0
        self.is_silent = False
        self.drops_sleep_answer = False
        self.has_garbled_power = False
        self.sleep_commands = 0
        self.fewer_signs = False

    @property
    def machine(self) -> Machine:
        return Machine(name=self.name, uri=f"luxos://127.0.0.1:{self.port}", mac=self.mac)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = json.loads(await reader.readuntil(b"}"))
        if self.is_silent:
            await reader.read()
        else:
            answer = self._answer(request["command"], request.get("parameter", ""))
            writer.write(json.dumps(answer).encode() + b"\0" if answer else b"")
        writer.close()

    def _answer(self, command: str, parameter: str) -> dict[str, object]:
        ok = {"STATUS": [{"STATUS": "S", "Code": 1, "Msg": "done"}], "id": 1}
        board = {"ID": 0, "Enabled": "Y", "Status": "Alive", "MHS 5s": 4e7, "Temperature": 60.0}
        known: dict[str, dict[str, object]] = {
            "version": {"VERSION": [{"API": "3.7", "LUXminer": "2025.4.8"}]},
            "config": {"CONFIG": [self._config()]},
            "devs": {"DEVS": [board]},
            "power": {"POWER": [{"Watts": 2794, "PSU": False}]},
            "logoff": {},
        }
        if self.has_garbled_power:
            known["power"] = {"POWER": "?"}
        if self.fewer_signs:
            del known["version"]
        if command in known:
            return ok | known[command]
        if command == "logon":
            self.is_busy_times -= 1
            if self.is_busy_times >= 0:
                return {
                    "STATUS": [{"STATUS": "E", "Code": 402, "Msg": "Another session is active"}]
                }
            return ok | {"SESSION": [{"SessionID": "aB3"}]}
        if command == "curtail" and parameter == "aB3,sleep":
            self.sleep_commands += 1
            self.is_asleep = not self.ignores_commands
            return {} if self.drops_sleep_answer else ok
        return {"STATUS": [{"STATUS": "E", "Code": 14, "Msg": "Invalid command"}]}

    def _config(self) -> dict[str, object]:
        return {
            "OS": "LuxOS",
            "Model": "Antminer S19k Pro",
            "MACAddr": self.mac,
            "SerialNumber": f"S{self.port}",
            "ASC Count": 1,
            "NameplateTHS": 121.8,
            "Profile": "590MHz",
            "CurtailMode": "Sleep" if self.is_asleep else "None",
            "IsPowerSupplyOn": not self.is_asleep,
        }


@pytest.fixture
async def farm() -> AsyncIterator[list[StandIn]]:
    machines = [StandIn(number) for number in range(12)]
    async with AsyncExitStack() as stack:
        for machine in machines:
            server = await asyncio.start_server(machine.serve, "127.0.0.1", 0)
            await stack.enter_async_context(server)
            machine.port = server.sockets[0].getsockname()[1]
        yield machines


async def put_to_sleep(farm: list[StandIn], bounds: Bounds = BOUNDS) -> dict[str, str]:
    async with Sleeper([machine.machine for machine in farm], bounds) as sleeper:
        await sleeper.run()
    return {machine.name: reason for machine, reason in sleeper.awake.items()}


async def test_every_machine_is_put_to_sleep_by_one_command(farm: list[StandIn]) -> None:
    assert await put_to_sleep(farm) == {}
    assert [machine.is_asleep for machine in farm] == [True] * len(farm)
    assert [machine.sleep_commands for machine in farm] == [1] * len(farm)


async def test_a_machine_that_accepts_and_ignores_is_tried_twice_and_named(
    farm: list[StandIn],
) -> None:
    farm[3].ignores_commands = True
    awake = await put_to_sleep(farm)
    assert awake == {farm[3].name: "it took the command. It says that it is hashing."}
    assert farm[3].sleep_commands == 2


async def test_a_machine_with_another_mac_is_never_written_to(farm: list[StandIn]) -> None:
    stranger = Machine(name="r9", uri=farm[0].machine.uri, mac="02:00:00:00:ff:ff")
    async with Sleeper([stranger], BOUNDS) as sleeper:
        await sleeper.run()
    assert "02:00:00:00:ff:ff" in sleeper.awake[stranger]
    assert farm[0].sleep_commands == 0


async def test_one_sign_of_identity_does_not_justify_a_write(farm: list[StandIn]) -> None:
    farm[0].fewer_signs = True
    assert "not certain what it is" in (await put_to_sleep(farm))[farm[0].name]
    assert farm[0].sleep_commands == 0


async def test_a_session_held_by_a_dead_agent_is_tried_again(farm: list[StandIn]) -> None:
    farm[5].is_busy_times = 1
    assert await put_to_sleep(farm) == {}


async def test_a_lost_answer_is_settled_by_reading_back(farm: list[StandIn]) -> None:
    farm[5].drops_sleep_answer = True
    assert await put_to_sleep(farm) == {}
    assert farm[5].sleep_commands == 1


async def test_a_machine_with_garbled_readings_is_still_told_to_sleep(farm: list[StandIn]) -> None:
    farm[2].has_garbled_power = True
    assert list(await put_to_sleep(farm)) == [farm[2].name]
    assert farm[2].is_asleep


async def test_silent_and_unreachable_machines_do_not_hold_up_the_others(
    farm: list[StandIn],
) -> None:
    farm[0].is_silent = True
    nobody = Machine(name="off", uri="luxos://127.0.0.1:1", mac="02:00:00:00:00:aa")
    wrong = Machine(name="typo", uri="luxus://127.0.0.1", mac="02:00:00:00:00:ab")
    bounds = Bounds(machine_s=0.5, total_s=5.0, pause_s=0.05, concurrent=4)
    async with Sleeper([nobody, wrong, *(machine.machine for machine in farm)], bounds) as sleeper:
        await sleeper.run()
    assert {machine.name for machine in sleeper.awake} == {"off", "typo", farm[0].name}
    assert all(machine.is_asleep for machine in farm[1:])
    assert "no end within 0.5 s" in sleeper.awake[farm[0].machine]


async def test_the_whole_ends_in_time_and_keeps_what_it_has_reached(farm: list[StandIn]) -> None:
    farm[0].is_silent = True
    started_s = asyncio.get_running_loop().time()
    awake = await put_to_sleep(farm, Bounds(machine_s=9.0, total_s=0.8, concurrent=1))
    assert asyncio.get_running_loop().time() - started_s < 3.0
    assert farm[0].name in awake


async def test_the_command_works_with_a_configuration_that_is_broken_elsewhere(
    farm: list[StandIn], tmp_path: Path
) -> None:
    rows = "\n".join(
        f'[[miners]]\nuri = "{machine.machine.uri}"  # row 1\nmac = "{machine.mac.upper()}"\n'
        for machine in farm
    )
    config = tmp_path / "site.toml"
    config.write_text(f"[site]\nfarm = \n\n[governor]\ntick_s = 'x'\n{rows}\n[journal\npath=1")
    code, said = await run_command(config)
    assert "the configuration is not TOML" in said
    assert f"{len(farm)} of {len(farm)} machines are asleep" in said
    assert code == 1  # all sleep that could be read; that the rest was legible is not known
    assert all(machine.is_asleep for machine in farm)


async def test_the_command_ends_with_0_only_when_all_sleep(
    farm: list[StandIn], tmp_path: Path
) -> None:
    config = tmp_path / "site.toml"
    rows = (f'[[miners]]\nuri="{m.machine.uri}"\nmac="{m.mac}"\nid="{m.name}"\n' for m in farm)
    config.write_text("unknown_key = 1\n" + "".join(rows))
    assert await run_command(config) == (0, "failsafe: 12 of 12 machines are asleep\n")
    farm[7].ignores_commands = True
    farm[7].is_asleep = False
    code, said = await run_command(config)
    assert code == 1
    assert f"failsafe: {farm[7].name} (luxos://127.0.0.1:{farm[7].port}) is not known" in said


async def test_a_configuration_that_is_not_there_is_said_in_one_sentence(tmp_path: Path) -> None:
    code, said = await run_command(tmp_path / "none.toml")
    assert code == 2
    assert said.count("\n") == 1


async def run_command(config: Path) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent.failsafe", "--config", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=Path(__file__).parent.parent.parent,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


def test_rows_that_name_no_machine_are_faults_and_do_not_hide_the_others() -> None:
    text = """
        [[miners]]
        uri = "luxos://10.0.0.1"
        mac = "02:00:00:00:00:01"
        [[miners]]
        mac = "02:00:00:00:00:02"
        [[miners]]
        uri = "luxos://10.0.0.3"
    """
    inventory = read_inventory(text)
    assert [machine.uri for machine in inventory.machines] == ["luxos://10.0.0.1"]
    assert len(inventory.faults) == 2


def test_passwords_are_looked_for_as_the_agent_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        [[miners]]
        uri = "whatsminer-v3://10.0.0.1"
        mac = "02:00:00:00:00:01"
        password_file = "w.password"
    """
    (machine,) = read_inventory(text, tmp_path).machines
    assert machine.password_file == tmp_path / "w.password"
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "w.password").touch()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "secrets"))
    (machine,) = read_inventory(text, tmp_path).machines
    assert machine.password_file == tmp_path / "secrets" / "w.password"


@pytest.mark.parametrize(
    "text", ["", "miners = 3\n", "\x00[[miners]]\nuri=", "[[miners]]\nuri=1\n"]
)
def test_any_text_gives_an_inventory(text: str) -> None:
    assert isinstance(read_inventory(text), Inventory)


def test_relays_are_read_out_of_a_broken_file_and_one_that_cannot_be_opened_is_named() -> None:
    text = """
[[relays]]
id = "k1"
uri = "modbus://127.0.0.1:5020/1?profile=wb-mr6"
channel = 2
miners = ["r1-*"]

[[relays]]
id = "k2"

[governor
"""
    found = read_inventory(text)
    (relay,) = found.relays
    assert (relay.name, relay.channel) == ("k1", 2)
    assert relay.covers(StandIn(1).machine)
    assert not relay.covers(Machine(name="r2-s01", uri="luxos://127.0.0.1", mac=""))
    assert any("'k2'" in fault for fault in found.faults)


async def test_only_the_relay_of_a_machine_that_is_awake_is_tried_and_what_fails_is_said() -> None:
    """Nothing listens where the boards should be."""
    board = "modbus://127.0.0.1:1/1?profile="
    relays = [
        Relay(name="gone", uri=f"{board}wb-mr6", channel=1, miners=("r1-*",)),
        Relay(name="odd", uri=f"{board}finder", channel=1, miners=("r1-s01",)),
        Relay(name="quiet", uri=f"{board}wb-mr6", channel=2, miners=("r2-*",)),
    ]
    said = await open_feeds(relays, [StandIn(1).machine], BOUNDS)
    assert said.keys() == {"gone", "odd"}
    assert "No connection" in said["gone"]
    assert "no relay profile" in said["odd"]
