"""How a configuration becomes the ear for the pool; without a key for that there is none."""

from agent.assembly import Base, purchase_reader
from agent.broker import credentials_of, parse_broker
from agent.core.note import NoteError
from agent.downlink import Downlink, DownlinkSettings
from agent.keeper import Keeper
from agent.keys import KeyFileError, load_vkey
from agent.pooldesk import PoolDesk, PoolKeys
from agent.poolnote import Addressee, check_signing_key


async def open_downlink(base: Base, keeper: Keeper) -> Downlink | None:
    """Listen to the pool; None where no key is pinned for that. Raises KeyFileError."""
    mqtt, site = base.settings.mqtt, base.settings.site
    if mqtt is None or base.pool_key is None or mqtt.pool_signing_vkey_file is None:
        return None
    try:
        signing = check_signing_key(load_vkey(mqtt.pool_signing_vkey_file))
    except NoteError as error:
        raise KeyFileError(f"{mqtt.pool_signing_vkey_file} is not usable: {error}.") from error
    desk = PoolDesk(
        journal=base.journal,
        clock=base.clock,
        books=keeper,
        reader=purchase_reader(base.settings),
        site=Addressee(farm=site.farm, agent=site.agent),
        keys=PoolKeys(signing=signing, cosigning=base.pool_key),
    )
    await desk.recover()
    options = DownlinkSettings(
        farm=site.farm,
        agent=site.agent,
        brokers=tuple(parse_broker(broker.url) for broker in mqtt.brokers),
        version=mqtt.version,
        credentials=credentials_of(mqtt),
    )
    downlink = Downlink(desk, options)
    keeper.heed(downlink.conditions)
    return downlink
