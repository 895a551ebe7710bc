"""From the configuration's meters to their drivers: what a purchase may be kept by."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.assembly import meter_posts, traits_at
from agent.calibrationdesk import candidates
from agent.core.calibration import Yardstick
from agent.core.ledger import Ledger
from agent.settings import Settings, parse_settings
from drivers.link.turns import Rank
from drivers.meters.profile_file import ProfileError
from drivers.readings import MeterIdentity

EXAMPLE = Path(__file__).parents[2] / "config" / "site.example.toml"


def settings(profile: str, **feeder: Any) -> Settings:
    """The example with a site meter of this profile, and a feeder's if there is one."""
    data = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    site = data["meters"][0]
    site |= {"uri": f"modbus://10.1.0.10/1?profile={profile}"}
    data["meter_points"][0]["meter"] = site["id"]
    data["meters"] = [site, *([site | feeder] if feeder else [])]
    return parse_settings(data, EXAMPLE)


async def test_a_meter_of_any_confirmed_profile_keeps_purchases_with_its_own_traits() -> None:
    (post,) = meter_posts(settings("em340"))
    assert post.profile == "em340"
    assert (post.traits.step_wh, post.traits.modulus_wh) == (100, 214_748_364_800)
    assert post.traits.refresh_s == 2.0
    await post.device.close()


async def test_after_a_restart_a_register_steps_as_it_did_when_it_was_booked_last() -> None:
    (post,) = meter_posts(settings("sdm630"))
    assert post.traits.step_wh == 10
    known = Ledger(meter_point="mp-1", booked_wh=2_500_000_000, offset_wh=1_000_000_000)
    assert traits_at(post, Ledger(meter_point="mp-1")).step_wh == 10
    assert traits_at(post, known).step_wh == 125
    await post.device.close()


@pytest.mark.parametrize("profile", ["abb-m4m", "adw300", "dtsu666"])
def test_what_no_paper_confirms_keeps_no_purchase_and_says_why(profile: str) -> None:
    with pytest.raises(ProfileError, match=f"keeps no purchase: the profile {profile} rests on"):
        meter_posts(settings(profile))


async def test_a_meter_that_is_only_read_may_rest_on_what_no_paper_confirms() -> None:
    feeder = {"id": "hall", "uri": "modbus://10.1.0.11/1?profile=adw300"}
    posts = meter_posts(settings("sdm630", **feeder))
    assert [post.profile for post in posts] == ["sdm630", "adw300"]
    assert [post.device._lease.rank for post in posts] == [Rank.BUDGET, Rank.OTHER]
    for post in posts:
        await post.device.close()


async def test_a_sunspec_meter_may_keep_a_purchase_and_steps_as_a_float_does() -> None:
    (post,) = meter_posts(settings("sunspec"))
    assert (post.profile, post.traits.step_wh, post.traits.modulus_wh) == ("sunspec", 1, None)
    assert traits_at(post, Ledger(meter_point="mp-1", booked_wh=10**9)).step_wh == 64
    assert post.nameplate is not None
    await post.device.close()


async def test_only_the_meters_of_points_are_held_against_the_commercial_one() -> None:
    feeder = {"id": "hall", "uri": "modbus://10.1.0.11/1?profile=adw300"}
    known = settings("em340", **feeder)
    posts = meter_posts(known)
    ((meter_id, found),) = candidates(known, posts).items()
    assert (meter_id, found.meter_point) == (known.meter_points[0].meter, "mp-1")
    # A class that nobody wrote down is taken for 1 %.
    assert found.yardstick == Yardstick(error_share=0.01, step_wh=100, refresh_s=2.0)
    assert found.serial() == ""
    posts[0].identity = MeterIdentity(profile="em340", serial="77", firmware="", model="")
    assert found.serial() == "77"
    for post in posts:
        await post.device.close()
