from pathlib import Path

import pytest

from drivers.device import ReadsMeter
from drivers.link.endpoint import Endpoint, SerialEndpoint
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


async def test_a_serial_port_is_named_by_its_path_and_the_unit_comes_last() -> None:
    uri = "modbus+serial:///dev/serial/by-path/pci-0:1.0-port0/17"
    meter = opened(f"{uri}?profile=sdm630&baud=19200&parity=E&stop=1")
    assert meter._unit == 17
    assert meter._lease.endpoint == SerialEndpoint(
        path="/dev/serial/by-path/pci-0:1.0-port0", baud=19200, parity="E", stop_bits=1
    )
    await meter.close()


async def test_a_port_of_another_host_is_reached_by_rfc_2217_or_as_a_socket() -> None:
    remote = opened("modbus+rfc2217://[::1]:4001/3?profile=sdm630&baud=2400")
    assert remote._lease.endpoint == SerialEndpoint(path="rfc2217://[::1]:4001", baud=2400)
    plain = opened("modbus+socket://10.1.0.12:4001/3?profile=sdm630")
    assert plain._lease.endpoint == Endpoint(host="10.1.0.12", port=4001, is_rtu=True)
    await remote.close()
    await plain.close()


async def test_one_serial_port_has_one_speed() -> None:
    first = opened("modbus+serial:///dev/ttyUSB9/1?profile=sdm630&baud=9600")
    with pytest.raises(ValueError, match="one port has one"):
        opened("modbus+serial:///dev/ttyUSB9/2?profile=sdm630&baud=19200")
    await first.close()


@pytest.mark.parametrize(
    "uri",
    [
        "modbus+serial://dev/ttyUSB0/1?profile=sdm630",
        "modbus+serial:///dev/ttyUSB0?profile=sdm630",
        "modbus+serial:///dev/ttyUSB0/?profile=sdm630",
        "modbus+serial:///dev/ttyUSB0/248?profile=sdm630",
        "modbus+serial:///ttyUSB0/1?profile=sdm630",
        "modbus+serial:///1?profile=sdm630",
        "modbus+serial:///dev/ttyUSB0/1?profile=sdm630&baud=9601",
        "modbus+serial:///dev/ttyUSB0/1?profile=sdm630&parity=X",
        "modbus+serial:///dev/ttyUSB0/1?profile=sdm630&stop=3",
        "modbus+serial:///dev/ttyUSB0/1?profile=sdm630&baud=9600&baud=9600",
        "modbus+serial:///dev/../ttyUSB0/1?profile=sdm630",
        "modbus+serial://[::1/1?profile=sdm630",
        "modbus+rfc2217://10.1.0.10/1?profile=sdm630",
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
        ProfileError,
        match=r"no meter profile 'x': choose one of abb-b23, .*, own, .*sdm630.*, sunspec",
    ):
        open_meter(
            "modbus://10.1.0.10/1?profile=x",
            meter_id="site",
            serial=None,
            rated_power_w=None,
            profile_dirs=[tmp_path],
        )
