"""``[[relays]]`` of a farm file: relay boards, and the contactors that hang on their channels."""

from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from simulator.table import Port, Table

CHANNELS = {"wb-mr6": 6, "waveshare": 8, "kmtronic": 8, "generic": 32, "generic-16": 16}
CHANNELS |= {"pac3200-output": 1}  # a meter's own


class ContactorTable(Table):
    """``[[relays.contactors]]``: what is fed through one channel, as machines' places."""

    channel: Annotated[int, Field(ge=1, le=256)]
    machines: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class RelayTable(Table):
    """One board. ``watchdog_s`` is what is stored in a WB-MR6 when the farm begins; 0 is off."""

    id: str
    model: Literal["wb-mr6", "waveshare", "kmtronic", "generic", "generic-16", "pac3200-output"] = (
        "wb-mr6"
    )
    host: IPv4Address = IPv4Address("127.0.0.1")
    port: Port = 0
    unit: Annotated[int, Field(ge=1, le=247)] = 1
    watchdog_s: Annotated[int, Field(ge=0, le=65_535)] = 0
    is_closed: bool = True
    drop_s: Annotated[float, Field(ge=0.0, le=5.0)] = 0.1
    contactors: tuple[ContactorTable, ...] = ()

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: IPv4Address) -> IPv4Address:
        if not host.is_loopback:
            raise ValueError("must be a loopback address")
        return host

    @model_validator(mode="after")
    def _has_channels(self) -> "RelayTable":
        if self.watchdog_s and self.model != "wb-mr6":
            raise ValueError(f"a {self.model} has no watchdog")
        wrong = [one.channel for one in self.contactors if one.channel > CHANNELS[self.model]]
        if wrong:
            raise ValueError(f"a {self.model} has no channel {wrong[0]}")
        return self
