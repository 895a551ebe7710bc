"""What is known of a Whatsminer with API v2: what rarely changes, and what one read has seen."""

from dataclasses import dataclass, replace
from typing import Self

from drivers.link.btminer import Mining
from drivers.miners.models import HardwareModel, find_model
from drivers.readings import BoardReading, MinerIdentity
from drivers.wire import whatsminer_who as who
from drivers.wire.cgminer import Row
from drivers.wire.whatsminer_standing import Sight, Standing
from drivers.wire.whatsminer_v2 import Status, boards_of, nameplate_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """``type_name`` and ``board_count`` are "" and 0 until mining has been seen on; ``badge`` is by
    what its mining reads name it."""

    version: who.Version
    owner: who.Owner
    type_name: str = ""
    board_count: int = 0
    badge: tuple[str, ...] = ()

    @property
    def model(self) -> HardwareModel | None:
        """None for a type that is not in the table."""
        return find_model(who.model_of(self.type_name))

    @property
    def signs(self) -> tuple[str, ...]:
        """One sentence for each independent sign; a write needs two."""
        return who.signs_of(self.version, self.owner, self.type_name)

    @property
    def nameplate_w(self) -> float | None:
        """W of the model; None where the table does not know it."""
        return None if self.model is None else self.model.nameplate_power_w

    def nameplate_hs(self, summary: Row | None) -> float | None:
        """H/s as the machine tells them, else of its model."""
        told_hs = None if summary is None else nameplate_of(summary)
        if told_hs is not None or self.model is None:
            return told_hs
        return self.model.nameplate_hashrate_hs

    def badged(self, mining: Mining) -> Self:
        """With the badge that its mining reads show now, and the most boards that were seen."""
        badge = mining.badge
        count = 0 if mining.devs is None else len(mining.devs.rows("DEVS"))
        if (badge, count) == (self.badge, self.board_count):
            return self
        return replace(self, badge=badge, board_count=max(count, self.board_count))

    def identity(self, family: str, summary: Row | None) -> MinerIdentity:
        """In the words of readings.py."""
        return MinerIdentity(
            family=family,
            model=who.model_of(self.type_name),
            mac=self.owner.mac,
            serial=self.owner.serial,
            firmware=self.version.firmware,
            board_count=self.board_count,
            nameplate_hashrate_hs=self.nameplate_hs(summary),
            signs=self.signs,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a fast read tells from; ``standing`` where not all of it was asked anew."""

    known: Known
    status: Status
    mining: Mining
    sight: Sight | None
    supply: Row | None
    standing: Standing | None

    @property
    def boards(self) -> tuple[BoardReading, ...]:
        """All of them; of a machine that is off those it had."""
        if self.sight is not None and not self.status.is_off:
            return self.sight.boards
        count = self.known.board_count
        return boards_of(self.mining.devs, is_off=self.status.is_off, count=count)
