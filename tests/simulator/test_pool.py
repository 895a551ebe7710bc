"""The reference pool behind a real broker, with notes signed by a device of our own."""

import queue
import time

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from simulator.pool import BrokerError, Pool
from simulator.signed_note import NoteError, open_checkpoint, parse_vkey
from simulator.witness import open_witness

EVIDENCE = "kwota/v1/farm-1/edge-1/evidence"
RECEIPT = "kwota/v1/farm-1/edge-1/receipt"


class Agent:
    """Publishes evidence and collects receipts."""

    def __init__(self, broker) -> None:
        host, port = broker.removeprefix("mqtt://").split(":")
        self.receipts: queue.Queue[bytes] = queue.Queue()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.on_message = lambda _c, _u, message: self.receipts.put(bytes(message.payload))
        self.client.connect(host, int(port))
        self.client.loop_start()
        self.client.subscribe(RECEIPT, qos=1)

    def send(self, payload: bytes) -> None:
        self.client.publish(EVIDENCE, payload, qos=1).wait_for_publish(5.0)

    def receipt(self) -> bytes:
        return self.receipts.get(timeout=5.0)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def until(condition, timeout_s=8.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "this did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def agent(broker):
    one = Agent(broker)
    yield one
    one.close()


@pytest.fixture
def pool(broker, tmp_path, device):
    registry = tmp_path / "registry.toml"
    registry.write_text(f'[agents]\n"farm-1/edge-1" = "{device.vkey()}"\n')
    one = Pool(witness=open_witness(tmp_path / "pool", registry, "pool.example"), broker=broker)
    one.start()
    until(lambda: one.is_connected)
    yield one
    one.stop()


@pytest.mark.system
def test_evidence_gets_a_cosigned_checkpoint_and_is_kept_byte_for_byte(
    agent, pool, device, tmp_path
) -> None:
    device.write(12)
    agent.send(device.message(0, 5))
    agent.receipt()
    agent.send(device.message(5, 12))
    receipt = agent.receipt()
    assert open_checkpoint(receipt, parse_vkey(device.vkey())).size == 12
    assert receipt.decode().splitlines()[-1].startswith("— pool.example ")
    kept = next((tmp_path / "pool").glob("*.ndjson")).read_bytes()
    assert kept.splitlines() == device.records
    state = pool.state()
    assert (state["messages"], state["records"], state["receipts"]) == (2, 12, 2)


@pytest.mark.system
def test_a_gap_gets_no_receipt_and_is_counted(agent, pool, device) -> None:
    device.write(6)
    agent.send(device.message(3, 6))
    until(lambda: pool.state()["rejects"] == {"gap": 1})
    assert agent.receipts.empty()


@pytest.mark.system
def test_a_resent_message_gets_the_receipt_again(agent, pool, device) -> None:
    device.write(4)
    agent.send(device.message(0, 4))
    first = agent.receipt()
    agent.send(device.message(0, 4))
    assert agent.receipt() == first
    assert pool.state()["records"] == 4


@pytest.mark.system
def test_rewritten_history_is_counted_as_equivocation(agent, pool, device) -> None:
    device.write(4)
    agent.send(device.message(0, 4))
    agent.receipt()
    device.records[1] = b'{"i":1,"other":1}'
    agent.send(device.message(0, 4))
    until(lambda: pool.state()["equivocations"] == 1)
    assert agent.receipts.empty()


@pytest.mark.system
def test_an_agent_can_be_registered_while_the_pool_runs(
    agent, pool, device, other_device, tmp_path
) -> None:
    registry = tmp_path / "registry.toml"
    registry.write_text(f'[agents]\nother = "{other_device.vkey()}"\n')
    device.write(2)
    agent.send(device.message(0, 2))
    until(lambda: pool.state()["rejects"] == {"unknown_key": 1})
    registry.write_text(
        f'[agents]\nother = "{other_device.vkey()}"\nedge-1 = ["{device.vkey()}"]\n'
    )
    agent.send(device.message(0, 2))
    assert open_checkpoint(agent.receipt(), parse_vkey(device.vkey())).size == 2


def test_a_log_that_the_registry_closes_is_cosigned_up_to_there_and_no_further(
    device, tmp_path
) -> None:
    registry = tmp_path / "registry.toml"
    registry.write_text(f'[agents]\n"farm-1/edge-1" = "{device.vkey()} 5"\n')
    witness = open_witness(tmp_path / "pool", registry, "pool.example")
    device.write(5)
    receipt = witness.take("farm-1", "edge-1", device.message(0, 5))
    assert receipt is not None
    assert open_checkpoint(receipt, parse_vkey(device.vkey())).size == 5
    device.write(3)
    assert witness.take("farm-1", "edge-1", device.message(5, 8)) is None
    assert witness.state()["rejects"] == {"key_closed": 1}
    assert len(witness.records(device.origin)) == 5
    registry.write_text(f'[agents]\n"farm-1/edge-1" = "{device.vkey()}"\n# opened again\n')
    assert witness.take("farm-1", "edge-1", device.message(5, 8)) is not None


@pytest.mark.system
def test_a_pool_that_starts_again_goes_on_where_its_records_end(
    agent, broker, pool, device, tmp_path
) -> None:
    device.write(8)
    agent.send(device.message(0, 5))
    agent.receipt()
    pool.stop()
    kept = next((tmp_path / "pool").glob("*.ndjson"))
    with kept.open("ab") as file:
        file.write(b'{"i":5,"torn')
    witness = open_witness(tmp_path / "pool", tmp_path / "registry.toml", "pool.example")
    again = Pool(witness=witness, broker=broker)
    again.start()
    until(lambda: again.is_connected)
    agent.send(device.message(5, 8))
    assert open_checkpoint(agent.receipt(), parse_vkey(device.vkey())).size == 8
    again.stop()
    assert kept.read_bytes().splitlines() == device.records


@pytest.mark.parametrize("broker_text", ["127.0.0.1:1883", "http://x", "mqtt://", "mqtt://h:pp"])
def test_broker_addresses_that_cannot_be_used_are_refused(broker_text, tmp_path) -> None:
    witness = open_witness(tmp_path, None, "pool.example")
    with pytest.raises(BrokerError):
        Pool(witness=witness, broker=broker_text)


def test_a_broken_key_file_is_named(tmp_path) -> None:
    (tmp_path / "pool.key").write_text("not a key")
    with pytest.raises(NoteError, match=r"pool\.key"):
        open_witness(tmp_path, None, "pool.example")
