"""The plant's own books: which purchase the energy that truly flowed belongs to.

Independent of the agent's ledger and written another way on purpose: fractions of a watt-hour,
between any two instants, the earliest deadline first. It judges; it is never shown to the agent.
"""

from dataclasses import dataclass, field

MEANS_SOMETHING_WH = 0.01


@dataclass(slots=True, kw_only=True)
class Bought:
    """One purchase. ``until_s`` is infinite for an open-ended one."""

    name: str
    from_s: float
    until_s: float
    energy_wh: float
    taken_wh: float = 0.0
    over_wh: float = 0.0

    @property
    def is_exceeded(self) -> bool:
        """Whether more flowed than was bought, beyond the rounding of floating point."""
        return self.over_wh > MEANS_SOMETHING_WH


@dataclass(slots=True, kw_only=True)
class Stretch:
    """Time without any edge of a window: what the machines drew and hashed in it.

    ``names`` are the purchases open in it, ``stubborn`` the machines that obeyed nobody at some
    time of it and have no relay.
    """

    from_s: float
    until_s: float
    is_bought: bool
    energy_wh: float = 0.0
    machines_wh: float = 0.0
    hashes: float = 0.0
    unavoidable_wh: float = 0.0
    room_wh: float = 0.0
    is_stubborn: bool = False
    names: frozenset[str] = frozenset()
    stubborn: frozenset[str] = frozenset()

    @property
    def is_coverable(self) -> bool:
        """Whether an overrun in it could have been prevented by some means that the site has."""
        is_beyond = self.unavoidable_wh > self.room_wh
        return not (self.is_bought and self.is_stubborn and is_beyond)


@dataclass(slots=True, kw_only=True)
class Flow:
    """What flowed between two instants.

    ``floor_wh`` is what flows with every board off: the base load and the machines' idle draw.
    ``stubborn_wh`` is what nobody could have prevented, None while every machine can be controlled
    by some means. ``stubborn`` names the machines that nobody can control.
    """

    until_s: float
    energy_wh: float
    machines_wh: float
    hashes: float
    floor_wh: float
    stubborn_wh: float | None
    stubborn: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class Truth:
    """Feed it every flow in order; cut flows at every edge of a window."""

    bought: list[Bought] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)
    now_s: float = 0.0
    _is_cut: bool = True

    def buy(self, bought: Bought) -> None:
        """A purchase that counts from now on."""
        self.bought.append(bought)
        self.bought.sort(key=lambda one: (one.until_s, one.from_s, one.name))
        self._is_cut = True

    def lose_control(self) -> None:
        """More machines than before obey nobody: what flowed until now could no longer be undone.

        The agent had kept to its pace until then; only what it could still stop is held against it.
        """
        if self.stretches and not self._is_cut:
            self.stretches[-1].unavoidable_wh = self.stretches[-1].energy_wh

    def cut(self) -> None:
        """An edge of a window: a new stretch begins."""
        self._is_cut = True

    def flow(self, flow: Flow) -> None:
        """Attribute what flowed since the last call."""
        if flow.until_s <= self.now_s:
            return
        now_open = [b for b in self.bought if b.from_s <= self.now_s < b.until_s]
        if self._is_cut:
            self._is_cut = False
            room_wh = sum(one.energy_wh - one.taken_wh for one in now_open)
            self.stretches.append(
                Stretch(
                    from_s=self.now_s,
                    until_s=self.now_s,
                    is_bought=bool(now_open),
                    room_wh=room_wh,
                    names=frozenset(one.name for one in now_open),
                )
            )
        rest_wh = flow.energy_wh
        for one in now_open:
            share_wh = min(rest_wh, one.energy_wh - one.taken_wh)
            one.taken_wh += share_wh
            rest_wh -= share_wh
        if now_open and now_open[-1].until_s == float("inf"):
            # It has no end at which all that cannot be switched would cease to count.
            rest_wh -= flow.floor_wh
        if now_open and rest_wh > 0.0:
            now_open[-1].over_wh += rest_wh
        stretch = self.stretches[-1]
        stretch.until_s = flow.until_s
        stretch.energy_wh += flow.energy_wh
        stretch.machines_wh += flow.machines_wh
        stretch.hashes += flow.hashes
        if flow.stubborn_wh is not None:
            stretch.is_stubborn = True
            stretch.stubborn |= flow.stubborn
            stretch.unavoidable_wh += flow.stubborn_wh
        else:
            stretch.unavoidable_wh += flow.floor_wh if stretch.is_stubborn else flow.energy_wh
        self.now_s = flow.until_s

    @property
    def over_wh(self) -> float:
        """All that flowed beyond what was bought, while something was bought."""
        return sum(one.over_wh for one in self.bought if one.is_exceeded)

    @property
    def is_coverable(self) -> bool:
        """Whether every overrun could have been prevented by some means that the site has."""
        return all(stretch.is_coverable for stretch in self.stretches)
