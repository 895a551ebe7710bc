"""Who a machine on TCP 4028 is, as Whatsminer's firmware of all three APIs tells it.

``get_version`` tells API and firmware, ``get_miner_info`` MAC and serials, ``devdetails`` the type.
Firmware with API v1 tells its MAC in ``summary``; firmware with API v3 answers here as well, and
its ``get_version`` has the type.
"""

import re
from dataclasses import dataclass, replace
from typing import Self

from drivers.errors import BadReplyError
from drivers.readings import MinerIdentity
from drivers.wire.cgminer import Answer, Row
from drivers.wire.whatsminer_field import text_of

_API = re.compile(r"(?:whatsminer v)?([0-9]\.[0-9.]{1,8})\Z")
_FIRMWARE = re.compile(r"20[0-9]{6}\.[0-9A-Za-z.]{1,30}\Z")
_TYPE = re.compile(r"M[0-9]{2}[0-9A-Z+]*(?:_[0-9A-Z]+)?\Z")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What ``get_version`` says. ``type_name`` is told here by firmware with API v3 alone."""

    api: str
    firmware: str
    type_name: str

    @property
    def is_api_v3(self) -> bool:
        """Whether this is the firmware that is commanded on another port."""
        return self.api.startswith("3.") or self.type_name != ""

    @property
    def is_api_v2(self) -> bool:
        """Whether API and firmware are those of a Whatsminer that takes sealed writes here."""
        return self.api.startswith("2.") and _FIRMWARE.match(self.firmware) is not None

    @property
    def is_api_v1(self) -> bool:
        """Whether this is the firmware before: read here, not commanded."""
        return self.api.startswith("1.") and _FIRMWARE.match(self.firmware) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose answers these are; "" and None where the machine does not tell."""

    mac: str
    serial: str
    power_supply_serial: str | None

    @property
    def has_mac(self) -> bool:
        """Whether it is a whole MAC."""
        return _MAC.match(self.mac) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What was found out of a machine and rarely changes. ``type_name`` and ``board_count`` are
    "" and 0 until mining has been seen on; ``badge`` is by what its mining reads name it."""

    version: Version
    owner: Owner
    type_name: str = ""
    board_count: int = 0
    badge: tuple[str, ...] = ()

    @property
    def signs(self) -> tuple[str, ...]:
        """One sentence for each independent sign; a write needs two."""
        return signs_of(self.version, self.owner, self.type_name)

    @property
    def model_name(self) -> str:
        """The name of the model in the table."""
        return model_of(self.type_name)

    def badged(self, badge: tuple[str, ...], board_count: int) -> Self:
        """With what its mining reads show now; boards are as many as were ever seen."""
        if (badge, board_count) == (self.badge, self.board_count):
            return self
        return replace(self, badge=badge, board_count=max(board_count, self.board_count))

    def identity(self, family: str, nameplate_hashrate_hs: float | None) -> MinerIdentity:
        """In the words of readings.py."""
        return MinerIdentity(
            family=family,
            model=self.model_name,
            mac=self.owner.mac,
            serial=self.owner.serial,
            firmware=self.version.firmware,
            board_count=self.board_count,
            nameplate_hashrate_hs=nameplate_hashrate_hs,
            signs=self.signs,
        )


def version_of(answer: Answer) -> Version:
    """``get_version``, accepted."""
    row = message_of(answer)
    api = _API.match(row.text("api_ver"))
    return Version(
        api="" if api is None else api[1],
        firmware=text_of(row, "fw_ver").strip("'"),
        type_name=text_of(row, "miner_type"),
    )


def owner_of(answer: Answer) -> Owner:
    """``get_miner_info``, accepted."""
    row = message_of(answer)
    return Owner(
        mac=row.text("mac").lower(),
        serial=text_of(row, "minersn"),
        power_supply_serial=text_of(row, "powersn") or None,
    )


def owner_in(summary: Row) -> Owner:
    """API v1 tells its MAC in ``summary`` and has no serial."""
    return Owner(mac=_mac_in(summary), serial="", power_supply_serial=None)


def _mac_in(summary: Row) -> str:
    return text_of(summary, "MAC").lower()


def badge_of(summary: Row | None, devs: Answer | None) -> tuple[str, ...]:
    """By what the mining program's own answers name a machine: the MAC, where this firmware tells
    it in ``summary``, else the serials of all boards; () where they tell neither."""
    mac = "" if summary is None else _mac_in(summary)
    if _MAC.match(mac):
        return (mac,)
    serials = [text_of(row, "PCB SN") for row in (() if devs is None else devs.rows("DEVS"))]
    # What stands in the place of a serial is the same on every board.
    is_badge = len(serials) > 1 and len(set(serials)) == len(serials) and all(serials)
    return tuple(serials) if is_badge else ()


def type_of(devdetails: Answer) -> str:
    """The hardware's type, as ``M50_VH30``; "" where it is none."""
    rows = devdetails.sections.get("DEVDETAILS", ())
    name = text_of(rows[0], "Model") if rows else ""
    return name if _TYPE.match(name) else ""


def model_of(type_name: str) -> str:
    """The name of the model in the table, with the bin's letters left out."""
    return f"WhatsMiner {type_name.partition('_')[0]}".strip()


def signs_of(version: Version, owner: Owner, type_name: str) -> tuple[str, ...]:
    """One sentence for each independent sign that this is the machine meant; a write needs two."""
    kind = type_name or "Whatsminer"
    signs = [f"get_version answers as API {version.api}, firmware {version.firmware}, of a {kind}"]
    if owner.has_mac and owner.serial:
        signs.append(f"get_miner_info names MAC {owner.mac} and serial {owner.serial}")
    return tuple(signs)


def message_of(answer: Answer) -> Row:
    value = answer.fields.values.get("Msg")
    if not isinstance(value, dict):
        raise BadReplyError(
            "The machine's answer has no table 'Msg': "
            "its firmware may be a version that kwota does not know.",
            reply=answer.reply,
        )
    return Row(section="Msg", values=value)
