from pathlib import Path

import pytest

from drivers.device import ReadsMeter
from drivers.meters.meter import ModbusMeter
from drivers.meters.profile import ProfileError
from drivers.meters.registry import open_meter


def opened(uri: str) -> ModbusMeter:
    return open_meter(uri, meter_id="site", serial=None, rated_power_w=None)


async def test_a_uri_opens_a_meter_with_its_profile() -> None:
    meter = opened("modbus://10.1.0.10:1502/17?profile=sdm630")
    assert isinstance(meter, ReadsMeter)
    assert meter.profile.name == "sdm630"
    assert meter._unit == 17
    assert str(meter._lease.endpoint) == "10.1.0.10:1502"
    assert not meter._lease.endpoint.is_rtu
    await meter.close()


async def test_the_port_defaults_to_502_and_rtu_over_tcp_has_its_scheme() -> None:
    meter = opened("modbus+rtu://gateway.example/247?profile=sdm630")
    assert str(meter._lease.endpoint) == "gateway.example:502"
    assert meter._lease.endpoint.is_rtu
    await meter.close()


async def test_units_of_one_gateway_share_one_bus() -> None:
    first = opened("modbus://10.1.0.11/1?profile=sdm630")
    second = opened("modbus://10.1.0.11:502/2?profile=sdm630")
    assert first._lease._bus is second._lease._bus
    await first.close()
    await second.close()


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "tcp://10.1.0.10/1?profile=sdm630",
        "modbus:///1?profile=sdm630",
        "modbus://10.1.0.10:0/1?profile=sdm630",
        "modbus://10.1.0.10:99999/1?profile=sdm630",
        "modbus://10.1.0.10:502?profile=sdm630",
        "modbus://10.1.0.10:502/?profile=sdm630",
        "modbus://10.1.0.10:502/0?profile=sdm630",
        "modbus://10.1.0.10:502/248?profile=sdm630",
        "modbus://10.1.0.10:502/1000?profile=sdm630",
        "modbus://10.1.0.10:502/one?profile=sdm630",
        "modbus://10.1.0.10:502/1/2?profile=sdm630",
        "modbus://10.1.0.10:502/1",
        "modbus://10.1.0.10:502/1?profile=sdm630&profile=sdm120",
        "modbus://10.1.0.10:502/1?profile=sdm630&baud=9600",
        "modbus://10.1.0.10:502/1?profile=",
        "modbus://10.1.0.10:502/1?profile=../sdm630",
        "modbus://10.1.0.10:502/1?profile=sdm630#x",
        "modbus://a:b@10.1.0.10:502/1?profile=sdm630",
        "modbus://[::1/1?profile=sdm630",
    ],
)
def test_a_bad_uri_is_refused_in_one_sentence(uri: str) -> None:
    with pytest.raises(ValueError) as caught:
        opened(uri)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_an_unknown_profile_says_which_there_are(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("", "utf-8")
    with pytest.raises(
        ProfileError, match=r"no meter profile 'x': choose one of abb-b23, .*, own, .*sdm630"
    ):
        open_meter(
            "modbus://10.1.0.10/1?profile=x",
            meter_id="site",
            serial=None,
            rated_power_w=None,
            profile_dirs=[tmp_path],
        )
