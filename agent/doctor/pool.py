"""Every broker of the site: name, TCP, TLS, login. Nothing is published or subscribed to."""

import asyncio
from collections.abc import Sequence

from agent.broker import MqttError, NotAuthorisedError, Session, credentials_of, parse_broker
from agent.doctor.finding import Finding, failed, fine, warning
from agent.mqtt import connect
from agent.settings import MqttSettings, Settings

_CONNECT_S = 5.0


async def broker_findings(settings: Settings) -> Sequence[Finding]:
    """One finding for each broker; the first of them that works is the one in use."""
    mqtt = settings.mqtt
    if mqtt is None:
        remedy = "add [mqtt]: without a pool nobody else holds what this agent saw"
        return [warning("broker", "mqtt", "no broker is configured", remedy)]
    # A name of its own: the daemon's would throw the daemon out.
    client_id = f"{settings.site.farm}-{settings.site.agent}-doctor"
    urls = [broker.url for broker in mqtt.brokers]
    return await asyncio.gather(*(_broker(mqtt, url, client_id) for url in urls))


async def _broker(mqtt: MqttSettings, url: str, client_id: str) -> Finding:
    session = Session(
        broker=parse_broker(url),
        client_id=client_id,
        version=mqtt.version,
        credentials=credentials_of(mqtt),
        connect_s=_CONNECT_S,
    )
    try:
        async with connect(session):
            pass
    except NotAuthorisedError as error:
        remedy = "check user, password and certificate with the pool; it may know one name only"
        return failed("broker", url, str(error), remedy)
    except MqttError as error:
        remedy = "check cable, name service, firewall, ca_file and whether the pool's broker is up"
        return failed("broker", url, str(error), remedy)
    return fine("broker", url, "lets this agent in")
