"""Who a Whatsminer with API v3 is and what it complains of: ``get.device.info``.

Never saw a socket, never guesses a value: what is missing or of another kind is a BadReplyError.
"""

import re
from typing import NamedTuple

from drivers.errors import BadReplyError
from drivers.readings import MinerFault
from drivers.wire.cgminer import Row
from drivers.wire.whatsminer_field import has, is_on, not_negative, text_of
from drivers.wire.whatsminer_reply import Reply

BOARDS_MAX = 16
_WORDS_MAX = 200
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}\Z")
_TYPE = re.compile(r"M[0-9]{2}[0-9A-Z+]*(?:_[0-9A-Z]+)?\Z")

_LOW_RATE = "The hashrate is too low"
# The class of a fault by the start of its code, the longest first (MicroBT's table of codes).
_FAULT_CLASSES = (
    ("20", 4, "The pool cannot be reached or refuses the worker"),
    ("23", 4, _LOW_RATE),
    ("50", 4, "Cooling water or the supply voltage is not as it should be"),
    ("51", 4, "The frequency of the chips is not as it should be"),
    ("1", 3, "A fan has failed"),
    ("2", 3, "The power supply has failed"),
    ("3", 3, "A temperature is too high or cannot be measured"),
    ("4", 3, "A hashboard's memory cannot be read"),
    ("5", 3, "A hashboard has failed"),
    ("6", 3, "The ambient temperature is too high"),
    ("7", 3, "The control board has failed"),
    ("8", 3, "The firmware or its checksum is wrong"),
)


class DeviceInfo(NamedTuple):
    """What ``get.device.info`` says of a machine.

    What a fast read does not need is taken from the answer where somebody asks for it, and may be a
    BadReplyError then.
    """

    mac: str
    type_name: str
    board_count: int
    is_working: bool
    answer: Reply
    miner: Row
    system: Row
    power: Row

    @property
    def is_api_v3(self) -> bool:
        """Whether API version and type are those of a Whatsminer with API v3."""
        return self.api.startswith("3.") and _TYPE.match(self.type_name) is not None

    @property
    def model(self) -> str:
        """The name of the model in the table, with the bin's letters left out."""
        return f"WhatsMiner {self.type_name.partition('_')[0]}"

    @property
    def api(self) -> str:
        """The version of the API."""
        return self.system.text("api")

    @property
    def platform(self) -> str:
        """The control board's kind."""
        return text_of(self.system, "platform")

    @property
    def firmware(self) -> str:
        """The firmware's version."""
        return self.system.text("fwversion")

    @property
    def serial(self) -> str:
        """The machine's own; "" where it tells none."""
        return text_of(self.miner, "miner-sn")

    @property
    def board_serials(self) -> tuple[str, ...]:
        """By slot; "" where unknown."""
        return tuple([text_of(self.miner, f"pcbsn{slot}") for slot in range(self.board_count)])

    @property
    def power_supply_serial(self) -> str | None:
        """None where the power supply tells none."""
        return text_of(self.power, "sn") or None

    @property
    def input_power_w(self) -> float | None:
        """What the power supply measures at its input."""
        return not_negative(self.power, "pin") if has(self.power, "pin") else None

    @property
    def is_fast_boot(self) -> bool:
        """Whether a percent comes without a restart of mining."""
        return has(self.miner, "fast-boot") and is_on(self.miner, "fast-boot")

    @property
    def salt(self) -> str:
        """For the token of a write."""
        return self.answer.message.text("salt")

    @property
    def clock_s(self) -> int:
        """The machine's own clock, for the token of a write."""
        if self.answer.when_s is None:
            raise BadReplyError(
                "The machine's answer does not tell its clock.", reply=self.answer.reply
            )
        return self.answer.when_s

    @property
    def faults(self) -> tuple[MinerFault, ...]:
        """What it complains of."""
        return _faults_of(self.answer)


def info_of(answer: Reply) -> DeviceInfo:
    """``get.device.info`` without a parameter."""
    miner = answer.part("miner")
    count = miner.whole("board-num")
    if not 1 <= count <= BOARDS_MAX:
        raise BadReplyError(f"The machine says that it has {count} boards.", reply=answer.reply)
    return DeviceInfo(
        mac=answer.part("network").text("mac").lower(),
        type_name=miner.text("type"),
        board_count=count,
        is_working=is_on(miner, "working"),
        answer=answer,
        miner=miner,
        system=answer.part("system"),
        power=answer.part("power"),
    )


def has_mac(info: DeviceInfo) -> bool:
    """Whether the machine tells a whole MAC."""
    return _MAC.match(info.mac) is not None


def _faults_of(answer: Reply) -> tuple[MinerFault, ...]:
    found = []
    for row in answer.parts("error-code"):
        reason = text_of(row, "reason")
        codes = [key for key in row.values if key.isascii() and key.isdigit()]
        if not codes and has(row, "code"):
            codes = [str(row.values["code"])[:_WORDS_MAX]]
        found += [fault_of(code, reason) for code in codes]
    return tuple(found)


def fault_of(code: str, reason: str = "") -> MinerFault:
    """Our words for a fault's class, with the machine's own reason behind them."""
    words = next(
        (
            words
            for start, digits, words in _FAULT_CLASSES
            if len(code) >= digits and len(code) - digits < 2 and code.startswith(start)
        ),
        "A fault that kwota does not know",
    )
    said = f"{words} ({reason[:_WORDS_MAX]})." if reason else f"{words}."
    return MinerFault(code=code, words=said, is_of_rate=words == _LOW_RATE)
