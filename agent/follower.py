"""Machines that a new lease has moved: looked for by MAC, and talked to where they answer.

Only while a machine of the configuration is lost, and only in the networks that ``[discovery]``
names. An address after the other, a few in a second, with reads that every firmware takes;
addresses where a known machine answers are left alone. The file is not changed: the new address
lasts until the daemon ends, and is in the log once and in the status as long as it holds.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.posts import MinerPost
from agent.settings_devices import MinerSettings
from agent.siteclock import SiteClock
from drivers.discovery.stranger import Asking, uri_of
from drivers.discovery.sweep import asked
from drivers.errors import DriverError
from drivers.link.uri import DeviceUri, device_uri
from drivers.miners.registry import FAMILIES, open_miner

LOST_AFTER_MISSES = 3
CLOSE_S = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How patient the search is. A network is walked through at one address each ``step_s``.

    ``lost_s``: a machine is looked for once it has been away for so long. ``rest_s``: the pause
    after a walk that did not find everybody.
    """

    lost_s: float = 60.0
    check_s: float = 5.0
    step_s: float = 0.25
    rest_s: float = 600.0
    concurrent: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How machines of one kind are asked: family, ports, password."""

    family: str
    ports: tuple[tuple[int, int], ...]
    password_file: Path | None

    def asking(self) -> Asking:
        passwords = {} if self.password_file is None else {self.family: self.password_file}
        families = frozenset({self.family})
        return Asking(ports=dict(self.ports), passwords=passwords, families=families)


@dataclass(slots=True, kw_only=True)
class _Search:
    """Who is looked for, by MAC, and how each of them is asked."""

    wanted: dict[str, MinerPost]
    ways: Mapping[str, _Way]


@dataclass(slots=True, kw_only=True)
class Follower:
    """Looks for machines. ``moved`` is filled with where those are that answer elsewhere."""

    clock: SiteClock
    posts: Sequence[MinerPost]
    miners: Mapping[str, MinerSettings]
    hosts: Sequence[str]
    moved: dict[str, str]
    pace: Pace = field(default_factory=Pace)
    _lost_since_s: dict[str, float] = field(init=False, default_factory=dict)
    _sought: frozenset[str] = field(init=False, default=frozenset())
    _not_before_s: float = field(init=False, default=0.0)

    async def run(self) -> None:
        """Look for whoever is lost, for ever."""
        while True:
            await asyncio.sleep(self.pace.check_s)
            lost = self._lost(self.clock.now_s())
            names = frozenset(post.miner_id for post in lost)
            is_rested = self.clock.now_s() >= self._not_before_s
            # One more that is lost is a reason not to wait.
            if lost and (is_rested or not names <= self._sought):
                await self._walk(lost)
                self._sought = names
                self._not_before_s = self.clock.now_s() + self.pace.rest_s

    def _lost(self, now_s: float) -> list[MinerPost]:
        """Machines that have been away for a while, or whose address answers as another one."""
        away = {post.miner_id: post for post in self.posts if _is_away(post)}
        kept = {name: self._lost_since_s.get(name, now_s) for name in away}
        self._lost_since_s = kept
        return [post for name, post in away.items() if now_s - kept[name] >= self.pace.lost_s]

    async def _walk(self, lost: Sequence[MinerPost]) -> None:
        """Ask one address after the other until everybody is found or none is left."""
        search = _Search(
            wanted={self.miners[post.miner_id].mac: post for post in lost},
            ways={post.miner_id: self._way(post) for post in lost},
        )
        known: dict[str, list[MinerPost]] = {}
        for post in self.posts:
            known.setdefault(_split(post.address).host, []).append(post)
        _log.info("event=looking_for_miners count=%d addresses=%d", len(lost), len(self.hosts))
        slots = asyncio.Semaphore(self.pace.concurrent)
        async with asyncio.TaskGroup() as group:
            for host in self.hosts:
                if not search.wanted:
                    break
                if not all(_is_away(post) for post in known.get(host, ())):
                    continue  # somebody else's connection is there
                await slots.acquire()
                group.create_task(self._look(host, search, slots), name=f"look at {host}")
                await asyncio.sleep(self.pace.step_s)

    async def _look(self, host: str, search: _Search, slots: asyncio.Semaphore) -> None:
        try:
            for way in dict.fromkeys(search.ways[p.miner_id] for p in search.wanted.values()):
                found = await asked(host, way.asking())
                if found.identity is not None and found.identity.mac:
                    post = search.wanted.pop(found.identity.mac, None)
                    if post is not None:
                        await self._follow(post, uri_of(post.family, host, dict(way.ports)))
                    return
        finally:
            slots.release()

    async def _follow(self, post: MinerPost, uri: str) -> None:
        """Talk to a machine at the address where its MAC was just seen."""
        miner = self.miners[post.miner_id]
        if not _is_away(post) or uri == post.address:
            return  # it has answered meanwhile where it was
        try:
            device = open_miner(
                uri, miner_id=miner.id, mac=miner.mac, password_file=miner.password_file
            )
        except ValueError as error:
            _log.warning("miner=%s event=not_followed to=%s reason=%r", miner.id, uri, str(error))
            return
        words = "miner=%s event=moved from=%s to=%s remedy='kwota discover --write'"
        _log.warning(words, miner.id, post.address, uri)
        before, post.device = post.device, device
        post.address, post.missed_polls = uri, 0
        if _split(uri) == _split(miner.uri):
            self.moved.pop(miner.id, None)
        else:
            self.moved[miner.id] = uri
        try:
            async with asyncio.timeout(CLOSE_S):
                await before.close()
        except (DriverError, TimeoutError) as error:
            _log.debug("miner=%s event=close_failed reason=%r", miner.id, str(error))

    def _way(self, post: MinerPost) -> _Way:
        miner = self.miners[post.miner_id]
        parts, family = _split(miner.uri), FAMILIES[post.family]
        ports = {family.default_port: parts.port or family.default_port}
        if family.second is not None:
            ports[family.second[1]] = family.second_port(parts.query)
        return _Way(
            family=post.family,
            ports=tuple(sorted(ports.items())),
            password_file=miner.password_file,
        )


def _is_away(post: MinerPost) -> bool:
    return post.identity is None and post.missed_polls >= LOST_AFTER_MISSES


def _split(uri: str) -> DeviceUri:
    return device_uri(uri, schemes=FAMILIES, example="luxos://10.1.1.11")
