"""The web pages of a stock Antminer (``/cgi-bin/*.cgi``) as values, and the form that sets a mode.

The configuration holds the pools with their passwords: neither errors nor the repr of a value
carry them. The form is the one that the machine's own page sends, filled with what was read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from drivers.errors import BadReplyError, RefusedError, UnknownOutcomeError
from drivers.readings import PoolReading
from drivers.wire.antminer_stats import type_name
from drivers.wire.cgminer import Answer, decode_answer

REALM = "antMiner"
POOLS_MAX = 16

_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}\Z")
_REALM = re.compile(r'\brealm="antMiner')
_SERIAL_KEYS = ("serinum", "serial_no")
# The key that the configuration reads back differs from the one that is written, by firmware.
_MODE_KEYS = ("bitmain-work-mode", "miner-mode")
_LEVEL_KEYS = ("bitmain-freq-level", "freq-level")
_FULL_LEVEL = "100"
_DONE = "M000"
_WORDS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemInfo:
    """``get_system_info``: who the machine is. "" where this firmware does not tell it."""

    type_name: str
    mac: str
    serial: str
    firmware: str

    @property
    def has_mac(self) -> bool:
        """Whether the machine tells a whole MAC."""
        return _MAC.match(self.mac) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerConfig:
    """``get_miner_conf``: the mode, and what the form must give back as it stands.

    ``mode`` is None where it is not told; ``pools`` None where the machine does not list them.
    """

    mode: int | None
    form: Mapping[str, object] = field(repr=False)
    pools: tuple[Mapping[str, object], ...] | None = field(repr=False)


def info_of(body: bytes) -> SystemInfo:
    """``get_system_info.cgi``."""
    row = decode_answer(body).fields
    serials = [row.text(key).strip() for key in _SERIAL_KEYS if row.has(key)]
    version = "system_filesystem_version"
    return SystemInfo(
        type_name=type_name(row.text("minertype")) if row.has("minertype") else "",
        mac=row.text_or_empty("macaddr").strip().lower(),
        serial=next((serial for serial in serials if serial), ""),
        firmware=row.text_or_empty(version),
    )


def config_of(body: bytes) -> MinerConfig:
    """``get_miner_conf.cgi``. Its errors carry no bytes: they would hold the pools' passwords."""
    try:
        answer = decode_answer(body)
        row = answer.fields
        told = [row.whole(key) for key in _MODE_KEYS if row.values.get(key) not in (None, "")]
        return MinerConfig(
            mode=told[0] if told else None,
            form={
                key: row.values[key]
                for key in ("bitmain-fan-ctrl", "bitmain-fan-pwm")
                if key in row.values
            }
            | {"freq-level": _level(row.values)},
            pools=_pools(answer),
        )
    except BadReplyError as error:
        raise BadReplyError(str(error)) from None


def encode_form(config: MinerConfig, mode: int, *, is_text: bool) -> bytes:
    """The whole form with another mode, as number or as text. Raises RefusedError.

    Pools that are left out may be erased, so a configuration without any list of them is not
    written back.
    """
    if config.pools is None:
        raise RefusedError(
            "The machine does not list its pools, and a form without them could erase them: "
            "set its pools on its own page first."
        )
    form = {**config.form, "miner-mode": str(mode) if is_text else mode, "pools": config.pools}
    return orjson.dumps(form)


def require_done(body: bytes) -> None:
    """``set_miner_conf.cgi``: a yes, which is an acceptance only. Raises RefusedError."""
    row = decode_answer(body).fields
    code = row.text("code")
    if code != _DONE:
        words = row.text("msg")[:_WORDS_MAX] if row.has("msg") else "no reason given"
        raise RefusedError(
            f"The machine refused the new mode: {words} (code {code[:20]}).", reply=body
        )


def unknown(miner_id: str, reply: bytes, *, what: str = "A mode") -> UnknownOutcomeError:
    """A form that was sent and not answered as a form is."""
    return UnknownOutcomeError(
        f"{what} was sent to machine {miner_id} and no usable answer came: "
        "read back what it did before sending anything else.",
        reply=reply,
    )


def encode_blink(*, is_on: bool) -> bytes:
    """The form of ``blink.cgi``."""
    return orjson.dumps({"blink": is_on})


def require_blink(body: bytes, *, is_on: bool) -> None:
    """``blink.cgi``: B000 says that it blinks, B100 that it does not. Raises RefusedError."""
    code = decode_answer(body).fields.text("code")
    if code != ("B000" if is_on else "B100"):
        raise RefusedError(
            f"The machine did not do with its light as it was told (code {code[:20]}): use the "
            "page of the machine itself.",
            reply=body,
        )


def is_antminer_realm(challenge: str) -> bool:
    """Whether a request for a login names the realm of a stock Antminer."""
    return _REALM.search(challenge) is not None


def resting_pools_of(config: MinerConfig) -> tuple[PoolReading, ...]:
    """The pools as they are set, for a machine whose mining program does not run."""
    return tuple(
        [
            PoolReading(
                slot=slot,
                url=str(pool.get("url", "")),
                user=str(pool.get("user", "")),
                is_active=False,
                is_alive=False,
                accepted=None,
                rejected=None,
            )
            for slot, pool in enumerate(config.pools or ())
        ]
    )


def _level(values: Mapping[str, object]) -> object:
    told = [values[key] for key in _LEVEL_KEYS if values.get(key) not in (None, "")]
    return told[0] if told else _FULL_LEVEL


def _pools(answer: Answer) -> tuple[Mapping[str, object], ...] | None:
    """Each pool as it stands, the password with it."""
    rows = answer.sections.get("pools")
    if rows is None:
        return None
    if len(rows) > POOLS_MAX:
        raise BadReplyError(f"The machine lists more than {POOLS_MAX} pools.")
    return tuple([row.values for row in rows])
