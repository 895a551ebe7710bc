"""Faults that can be switched while the farm runs, and what is faulty right now."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class FaultKind(StrEnum):
    """Every fault by its name in the control API."""

    METER_SILENT = "meter_silent"  # takes connections, never answers
    METER_FROZEN = "meter_frozen"  # energy register stands still, power goes on
    METER_FROZEN_ALL = "meter_frozen_all"  # energy and power stand still
    METER_REFUSE = "meter_refuse"  # connection refused
    METER_JUMP = "meter_jump"  # energy register moved by value_wh
    METER_NAN = "meter_nan"  # power and energy read as NaN
    METER_MEGA = "meter_mega"  # energy in MWh, as the prefix register then says
    METER_WORD_SWAP = "meter_word_swap"  # low word first, as the order register then says
    METER_SLOW = "meter_slow"  # answers after value_s
    METER_JITTER = "meter_jitter"  # thinks up to value_s longer, each time another while
    METER_POWER_CUT = "meter_power_cut"  # no supply; then its register is what it had saved
    METER_CLOCK_OFF = "meter_clock_off"  # its clock is value_s ahead of the site's time
    METER_CLOCK_STOPPED = "meter_clock_stopped"  # its clock stands
    METER_CLOCK_UNSET = "meter_clock_unset"  # its clock shows no time
    METER_CODE_ZERO = "meter_code_zero"  # answers everything with exception 0
    METER_EMPTY = "meter_empty"  # answers with a byte count of 0 and nothing else
    METER_HALF_OPEN = "meter_half_open"  # TCP: connections of before are dead and do not end
    METER_BUSY = "meter_busy"  # answers everything with exception 6
    METER_STRANGER = "meter_stranger"  # answers as the next unit
    METER_HALF = "meter_half"  # half of an answer, and no more
    METER_RESET = "meter_reset"  # TCP: cuts the connection instead of an answer
    METER_NO_ID = "meter_no_id"  # TCP: transaction id 0 in every answer
    METER_PIECES = "meter_pieces"  # TCP: each byte in a segment of its own
    METER_GARBLED = "meter_garbled"  # line: one bit of an answer is another one
    METER_NOISE = "meter_noise"  # line: bytes in front of an answer
    METER_ECHO = "meter_echo"  # line: the adapter hands back what was sent
    MINER_IGNORES = "miner_ignores"  # accepts every write, changes nothing
    MINER_GONE = "miner_gone"  # connection refused
    MINER_SILENT = "miner_silent"  # takes connections, never answers
    MINER_GARBAGE = "miner_garbage"  # HTML, half JSON, NUL, in turn
    MINER_WAKES = "miner_wakes"  # wakes by itself some time after it was put to sleep
    RELAY_SILENT = "relay_silent"  # takes connections, never answers
    RELAY_WELDED = "relay_welded"  # its contactors stay in, whatever their coils do
    BASE_LOAD = "base_load"  # constant part of the base load set to value_w

    @property
    def is_meter(self) -> bool:
        """Whether it is aimed at meters."""
        return self.value.startswith("meter_")

    @property
    def is_miner(self) -> bool:
        """Whether it is aimed at machines."""
        return self.value.startswith("miner_")

    @property
    def is_relay(self) -> bool:
        """Whether it is aimed at relay boards."""
        return self.value.startswith("relay_")


class TargetError(ValueError):
    """A target that means nothing for this fault."""


@dataclass(slots=True, kw_only=True)
class Faults:
    """Active faults by machine index, and by the position of meters and relay boards."""

    seed: int
    machines: int
    meters: int
    relays: int = 0
    _miner: dict[FaultKind, set[int]] = field(init=False)
    _meter: dict[FaultKind, set[int]] = field(init=False)
    _relay: dict[FaultKind, set[int]] = field(init=False)
    slow_s: float = 1.0
    jitter_s: float = 0.5

    def __post_init__(self) -> None:
        self._miner = {kind: set() for kind in FaultKind if kind.is_miner}
        self._meter = {kind: set() for kind in FaultKind if kind.is_meter}
        self._relay = {kind: set() for kind in FaultKind if kind.is_relay}

    def targets(self, kind: FaultKind, target: str | Sequence[int]) -> list[int]:
        """Machine indices or meter positions that a target means. Raises TargetError."""
        count = self.machines if kind.is_miner else self.meters
        count = self.relays if kind.is_relay else count
        if isinstance(target, str):
            if target == "site":
                return list(range(count))
            if not target.startswith("share:"):
                raise TargetError(
                    f"target {target!r}: use 'site', 'share:0.5' or a list of numbers"
                )
            return self._share(kind, target, count)
        wrong = [index for index in target if not 0 <= index < count]
        if wrong:
            raise TargetError(f"target {wrong[0]}: there are only {count}, counted from 0")
        return sorted(set(target))

    def switch(self, kind: FaultKind, indices: Sequence[int], *, is_active: bool) -> None:
        """Switch a fault for the given machines or meters."""
        active = (self._miner | self._meter | self._relay)[kind]
        if is_active:
            active.update(indices)
        else:
            active.difference_update(indices)

    def clear(self) -> None:
        """No fault any more."""
        for active in (self._miner | self._meter | self._relay).values():
            active.clear()

    def has_miner(self, kind: FaultKind, index: int) -> bool:
        """Whether a machine has a fault now."""
        return index in self._miner[kind]

    def has_meter(self, kind: FaultKind, position: int) -> bool:
        """Whether a meter has a fault now."""
        return position in self._meter[kind]

    def has_relay(self, kind: FaultKind, position: int) -> bool:
        """Whether a relay board has a fault now."""
        return position in self._relay[kind]

    def miners(self, kind: FaultKind) -> frozenset[int]:
        """All machines with a fault."""
        return frozenset(self._miner[kind])

    def active(self) -> dict[str, list[int]]:
        """Every active fault with its targets."""
        both = self._miner | self._meter | self._relay
        return {kind.value: sorted(indices) for kind, indices in both.items() if indices}

    def _share(self, kind: FaultKind, target: str, count: int) -> list[int]:
        try:
            share = float(target.removeprefix("share:"))
        except ValueError:
            raise TargetError(f"target {target!r}: the share is not a number") from None
        if not 0.0 <= share <= 1.0:
            raise TargetError(f"target {target!r}: the share is between 0 and 1")
        rng = random.Random(f"share-{self.seed}-{kind.value}")
        return sorted(rng.sample(range(count), round(share * count)))
