"""A machine without mosquitto: the demonstration's own broker carries the evidence."""

import pytest

from agent.demo.child import start_broker

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]


def test_the_embedded_broker_carries_evidence_and_receipts(site) -> None:
    broker = site.stack.enter_context(start_broker(site.directory, is_embedded=True))
    site.broker_port = int(broker.url.rpartition(":")[2])
    assert (site.directory / "amqtt.yaml").exists()
    site.start_farm(3)
    site.change_config('version = "5"', f'version = "{broker.mqtt_version}"')
    site.start_agent()
    site.wait_until(site.truth()["at_ms"] + 6_000)
    site.wait_for_receipts(10.0)
    delivery = site.api("status")["delivery"]
    assert delivery["broker"] == "connected"
    assert site.truth("/v1/pool")["receipts"] > 0
    site.agent.stop()
    code, report = site.verify()
    assert code == 0
    assert report["cosigned_size"] >= delivery["cosigned_size"] > 0
