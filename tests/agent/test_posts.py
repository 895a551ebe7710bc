"""What the governor is told that a machine can do: what its driver and the machine itself say."""

from dataclasses import replace

from agent.posts import MinerPost
from drivers.miners.registry import open_miner
from drivers.readings import MinerDetails, MinerIdentity

IDENTITY = MinerIdentity(
    family="bitaxe",
    model="Gamma",
    mac="02:00:00:00:00:01",
    serial="",
    firmware="v2.13.0",
    board_count=1,
    nameplate_hashrate_hs=None,
    signs=(),
)
DETAILS = MinerDetails(
    identity=IDENTITY,
    pools=(),
    profiles=(),
    board_serials=(),
    fan_speeds_rpm=(),
    uptime_s=None,
)


def post_at(uri: str) -> MinerPost:
    device = open_miner(uri, miner_id="m", mac=None)
    return MinerPost(miner_id="m", address=uri, family=uri.partition("://")[0], device=device)


def read(post: MinerPost, details: MinerDetails) -> None:
    """As the poller notes a full read."""
    post.details, post.identity = details, replace(details.identity)


def test_a_machine_whose_firmware_cannot_sleep_is_not_planned_to_sleep() -> None:
    post = post_at("bitaxe://127.0.0.1")
    assert post.view().can_sleep
    read(post, replace(DETAILS, can_sleep=False))
    assert not post.view().can_sleep
    assert post.view().can_select_profile
    read(post, DETAILS)  # its owner has updated the firmware
    assert post.view().can_sleep


def test_no_machine_can_more_than_its_driver() -> None:
    post = post_at("whatsminer-v3://127.0.0.1")  # without a password it is only read
    read(post, DETAILS)
    assert not post.view().can_sleep
