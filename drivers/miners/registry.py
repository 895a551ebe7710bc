"""From a machine's URI to its driver: ``luxos://10.1.1.11``. The scheme is the family.

A family is one module of this folder and one line of this table.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drivers.device import ReadsMiner
from drivers.link import power_service, sealed
from drivers.link.cgi import CgiPages
from drivers.link.frames import FramedLink
from drivers.link.http import HttpLink, Login
from drivers.link.tcp import TcpExchange
from drivers.link.uri import device_uri
from drivers.miners import (
    antminer,
    avalon,
    bitaxe,
    braiins,
    epic,
    luxos,
    vnish,
    whatsminer_v2,
    whatsminer_v3,
)

_EXAMPLE = "luxos://10.1.1.11"
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")


# Whoever names another file by mistake hears of it at the start.
_PASSWORD_BYTES_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a driver is made of. ``mac`` pins the machine; ``password`` is None without a file.

    ``second_port`` is 0 for a family that has one port only.
    """

    miner_id: str
    host: str
    port: int
    second_port: int
    mac: str | None
    password: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family: its port, how to make a driver, and whether its writes need a password.

    ``fast_read_s`` and ``full_read_s`` are the longest that reading it may take, a wait for another
    question to the same machine included; a driver's own limits are shorter and say more.

    ``second`` names a further port as a URI may give it (``?web=8080``), with its usual number.
    """

    default_port: int
    make: Callable[[Opening], ReadsMiner]
    takes_password: bool = False
    second: tuple[str, int] | None = None
    fast_read_s: float = 15.0
    full_read_s: float = 30.0

    def second_port(self, query: str) -> int:
        """The further port of a URI's query; 0 where the family has none. Raises ValueError."""
        if self.second is None:
            if query:
                raise ValueError("a query means nothing to this family")
            return 0
        name, usual = self.second
        if not query:
            return usual
        match = re.fullmatch(rf"{name}=([0-9]{{1,5}})", query)
        if match is None or not 1 <= int(match[1]) <= 65_535:
            raise ValueError(f"the query may only be {name}= and a port")
        return int(match[1])


def _luxos(at: Opening) -> ReadsMiner:
    link = TcpExchange(host=at.host, port=at.port)
    return luxos.LuxosMiner(miner_id=at.miner_id, link=link, mac=at.mac)


def _whatsminer_v2(at: Opening) -> ReadsMiner:
    links = whatsminer_v2.Links(
        reads=TcpExchange(host=at.host, port=at.port),
        newer=FramedLink(host=at.host, port=at.second_port, connect_s=1.0, answer_s=1.5),
    )
    if at.password is None:
        return whatsminer_v2.WhatsminerV2Reader(miner_id=at.miner_id, links=links, mac=at.mac)
    writes = TcpExchange(host=at.host, port=at.port, answer_s=sealed.WRITE_LIMIT_S)
    return whatsminer_v2.WhatsminerV2Miner(
        miner_id=at.miner_id,
        links=links,
        sealed=sealed.SealedLink(exchange=writes, password=at.password),
        mac=at.mac,
    )


def _avalon(at: Opening) -> ReadsMiner:
    link = TcpExchange(host=at.host, port=at.port)
    return avalon.AvalonMiner(miner_id=at.miner_id, link=link, mac=at.mac)


def _whatsminer_v3(at: Opening) -> ReadsMiner:
    link = FramedLink(host=at.host, port=at.port)
    older = TcpExchange(host=at.host, port=at.second_port, connect_s=1.0, answer_s=2.0)
    if at.password is None:
        return whatsminer_v3.WhatsminerV3Reader(
            miner_id=at.miner_id, link=link, mac=at.mac, older=older
        )
    return whatsminer_v3.WhatsminerV3Miner(
        miner_id=at.miner_id, link=link, mac=at.mac, password=at.password, older=older
    )


def _braiins(at: Opening) -> ReadsMiner:
    link = HttpLink(host=at.host, port=at.port)
    if at.password is None:
        return braiins.BraiinsReader(miner_id=at.miner_id, link=link, mac=at.mac)
    return braiins.BraiinsMiner(miner_id=at.miner_id, link=link, mac=at.mac, password=at.password)


def _epic(at: Opening) -> ReadsMiner:
    link = HttpLink(host=at.host, port=at.port)
    if at.password is None:
        return epic.EpicReader(miner_id=at.miner_id, link=link, mac=at.mac)
    return epic.EpicMiner(miner_id=at.miner_id, link=link, mac=at.mac, password=at.password)


def _bitaxe(at: Opening) -> ReadsMiner:
    link = HttpLink(host=at.host, port=at.port)
    return bitaxe.BitaxeMiner(miner_id=at.miner_id, link=link, mac=at.mac)


def _antminer(at: Opening) -> ReadsMiner:
    rpc = TcpExchange(host=at.host, port=at.port)
    link = HttpLink(host=at.host, port=power_service.PORT, answer_s=2.0)
    service = power_service.PowerService(link)
    if at.password is None:
        links = antminer.Links(rpc=rpc, service=service)
        return antminer.AntminerReader(miner_id=at.miner_id, links=links, mac=at.mac)
    login = Login(user=antminer.USER, password=at.password)
    pages = CgiPages(host=at.host, port=at.second_port, login=login)
    links = antminer.Links(rpc=rpc, service=service, pages=pages)
    return antminer.AntminerMiner(miner_id=at.miner_id, links=links, mac=at.mac)


def _vnish(at: Opening) -> ReadsMiner:
    kind = vnish.VnishReader if at.password is None else vnish.VnishMiner
    link = HttpLink(host=at.host, port=at.port)
    return kind(miner_id=at.miner_id, link=link, mac=at.mac, password=at.password)


FAMILIES: Mapping[str, Family] = {
    braiins.FAMILY: Family(default_port=braiins.DEFAULT_PORT, make=_braiins, takes_password=True),
    avalon.FAMILY: Family(default_port=avalon.DEFAULT_PORT, make=_avalon),
    antminer.FAMILY: Family(
        default_port=antminer.DEFAULT_PORT,
        make=_antminer,
        takes_password=True,
        second=("web", antminer.WEB_PORT),
    ),
    whatsminer_v2.FAMILY: Family(
        default_port=whatsminer_v2.DEFAULT_PORT,
        make=_whatsminer_v2,
        takes_password=True,
        second=("v3", whatsminer_v2.V3_PORT),
    ),
    luxos.FAMILY: Family(default_port=luxos.DEFAULT_PORT, make=_luxos),
    whatsminer_v3.FAMILY: Family(
        default_port=whatsminer_v3.DEFAULT_PORT,
        make=_whatsminer_v3,
        takes_password=True,
        second=("v2", whatsminer_v3.OLDER_PORT),
        fast_read_s=20.0,
    ),
    epic.FAMILY: Family(default_port=epic.DEFAULT_PORT, make=_epic, takes_password=True),
    bitaxe.FAMILY: Family(default_port=bitaxe.DEFAULT_PORT, make=_bitaxe),
    vnish.FAMILY: Family(default_port=vnish.DEFAULT_PORT, make=_vnish, takes_password=True),
}


def open_miner(
    uri: str, *, miner_id: str, mac: str | None, password_file: Path | None = None
) -> ReadsMiner:
    """The machine's driver; nothing is sent yet. Raises ValueError with one sentence.

    ``password_file`` holds the password of the machine's write account in its first line; without
    it, a family that needs one is only read.
    """
    parts = device_uri(uri, schemes=FAMILIES, example=_EXAMPLE)
    family = FAMILIES[parts.scheme]
    try:
        second_port = family.second_port(parts.query)
    except ValueError as error:
        raise ValueError(f"{uri!r} holds more than host and port: {error}.") from error
    if parts.path not in {"", "/"}:
        raise ValueError(f"{uri!r} holds more than host and port: write it as {_EXAMPLE}.")
    if password_file is not None and not family.takes_password:
        raise ValueError(f"{uri!r} needs no password: remove its password_file.")
    opening = Opening(
        miner_id=miner_id,
        host=parts.host,
        port=parts.port or family.default_port,
        second_port=second_port,
        mac=None if mac is None else normal_mac(mac),
        password=None if password_file is None else _password(password_file),
    )
    return family.make(opening)


def _password(path: Path) -> str:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"The password file {path} cannot be read: check path and rights.") from (
            error
        )
    password = text.partition("\n")[0].rstrip("\r")
    if not password or len(password.encode()) > _PASSWORD_BYTES_MAX:
        raise ValueError(f"The password file {path} holds no password in its first line.")
    return password


def normal_mac(mac: str) -> str:
    """A MAC in lower case with colons. Raises ValueError with one sentence."""
    normal = mac.strip().lower().replace("-", ":")
    if not _MAC.match(normal):
        raise ValueError(f"{mac!r} is not a MAC: write it as 62:f7:5e:b7:10:46.")
    return normal
