"""The pool sells to the daemon over a real broker; every message of the run is as documented."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from agent.core.merkle import Frontier, leaf_hash
from agent.core.note import Checkpoint, sign_text
from agent.demo.child import ChildError
from agent.demo.selling import sell_through_pool
from agent.demo.site import AGENT, FARM, METER_POINT, ORIGIN, plan_windows
from agent.keys import load_log_key

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

TOPIC = f"kwota/v1/{FARM}/{AGENT}"
REFUSED = ("wrong_key", "altered", "wrong_site", "expired", "not_yet", "too_large", "malformed")


class Listener:
    """Every message that goes over the broker, in order."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="listener")
        ready = threading.Event()
        self.client.on_message = lambda _c, _u, one: self.heard.append((one.topic, one.payload))
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self.client.subscribe("#", qos=1)
        assert ready.wait(5)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def listener(site) -> Iterator[Listener]:
    site.start_broker()
    heard = Listener(site.broker_port)
    yield heard
    heard.close()


def rows(*names: str) -> list[dict[str, object]]:
    start_ms = time.time_ns() // 1_000_000 + 3_600_000
    return [
        {
            "id": name,
            "meter_point": METER_POINT,
            "start_ms": start_ms,
            "end_ms": start_ms + 600_000,
            "energy_wh": 1_000,
            "price_kzt_per_kwh": "21",
        }
        for name in names
    ]


def sell(site, *names: str, trick: str = "none") -> dict[str, object]:
    order = {"farm": FARM, "agent": AGENT, "transactions": rows(*names), "trick": trick}
    answer: dict[str, object] = site.pool("transactions", order)
    return answer


def bought(site) -> set[str]:
    return {row["transaction_id"] for row in site.api("transactions")}


def forked_evidence(site) -> bytes:
    """What somebody would send who had stolen this agent's key: another first record."""
    key = load_log_key(site.directory / "log.key", ORIGIN)
    record = json.dumps({"v": 1, "i": 0, "k": "boot", "forged": True}).encode()
    root = Frontier().append(leaf_hash(record)).root()
    head = Checkpoint(origin=ORIGIN, size=1, root=root)
    note = sign_text(head.encode(), key.verifier, key.sign).encode()
    header = {"v": 1, "origin": ORIGIN, "from": 0, "to": 1, "checkpoint": note}
    return json.dumps(header).encode() + b"\n" + record


def codes(site) -> set[str]:
    return {row["code"] for row in site.api("events")}


def sell_by_command(site) -> None:
    """The pool's own command beside the running pool, and the demonstration's way."""
    file = Path(site.directory / "more.json")
    file.write_text(json.dumps({"transactions": rows("tx-7")}))

    def buy(*more: str) -> tuple[int, dict[str, object]]:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "simulator", "buy", str(file), "--broker", site.broker),
                *("--pool-dir", str(site.directory / "pool"), "--farm", FARM, "--agent", AGENT),
                *more,
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else {"err": done.stderr}

    assert buy()[0] == 0
    assert "tx-7" in bought(site)
    code, answer = buy("--trick", "wrong_key")
    assert (code, answer["reason"]) == (1, "wrong_key")

    at_ms = time.time_ns() // 1_000_000
    ahead = plan_windows(first_start_ms=at_ms, window_s=60, count=150, full_power_w=6_000.0)
    sell_through_pool(site.ready["control_url"], ahead)
    assert {one.transaction_id for one in ahead} <= bought(site)
    again = [replace(ahead[0], energy_wh=ahead[0].energy_wh + 1)]
    with pytest.raises(ChildError, match="refused demo-0001"):
        sell_through_pool(site.ready["control_url"], again)


def test_purchases_come_through_the_pool_and_nothing_else_does(site, listener, wire) -> None:
    site.start_farm(2)
    home = f'[homeassistant]\nbroker = "{site.broker}"\n'
    site.config.write_text(site.config.read_text() + home)
    site.start_agent()
    site.wait_for_receipts()

    first = sell(site, "tx-1", "tx-2")
    assert first["result"] == "taken"
    assert [one["result"] for one in first["items"]] == ["accepted", "accepted"]
    assert {"tx-1", "tx-2"} <= bought(site)
    second = sell(site, "tx-2", "tx-3")
    assert [one["result"] for one in second["items"]] == ["refused", "accepted"]  # other hours
    for trick in REFUSED:
        assert sell(site, f"tx-{trick}", trick=trick)["reason"] == trick
    assert sell(site, "tx-1", trick="replay")["reason"] == "replayed"
    assert sell(site, "tx-9", trick="reused")["reason"] == "reused"
    site.wait_for(lambda: "POOL_MESSAGE_REFUSED" in codes(site), 10.0, "no alarm")
    assert bought(site) == {"long", "tx-1", "tx-2", "tx-3"}

    site.agent.process.kill()
    site.agent.process.wait()
    site.start_agent()
    assert sell(site, "tx-2", trick="repeat") == second
    assert sell(site, "tx-1", trick="replay")["reason"] == "replayed"
    assert bought(site) == {"long", "tx-1", "tx-2", "tx-3"}
    sell_by_command(site)

    listener.client.publish(f"{TOPIC}/evidence", forked_evidence(site), qos=1)
    site.wait_for(lambda: "LOG_EQUIVOCATION" in codes(site), 15.0, "no alarm of the fork")
    site.wait_for_receipts()
    site.agent.stop()

    code, report = site.verify()
    assert code == 0, report
    told = [record["d"] for record in site.records("pool")]
    taken = [one["sequence"] for one in told if one["event"] == "taken"]
    assert taken == list(range(1, 7))
    refused = {one["reason"] for one in told if one["event"] == "refused"}
    assert refused == {*REFUSED, "replayed", "reused"}
    assert [one["reason"] for one in told if one["event"] == "equivocation"] == ["went_back"]

    foreign = [one for one in listener.heard if one[1] == forked_evidence(site)]
    honest = [one for one in listener.heard if one not in foreign]
    spoilt = [one for one in honest if one[0] == f"{TOPIC}/transactions" and wire.faults(*one)]
    assert len(spoilt) <= 2  # too long, and without a field: the pool's tricks
    faults = [fault for one in honest if one not in spoilt for fault in wire.faults(*one)]
    assert faults == []
    assert {wire.channel_of(topic) for topic, _ in honest} == set(wire.channels)
