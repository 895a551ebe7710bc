"""Who an Avalon machine is, and the one string in which it reports nearly everything.

``version`` is a table; ``litestats``, ``estats`` and ``stats`` hold a string of ``KEY[values]`` for
the machine's module, in two wrappings: "MM ID0" on the A series, "MM ID0:Summary" on Q and Nano.
Never saw a socket, never guesses a value: what is missing or of another kind is a BadReplyError.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drivers.errors import BadReplyError, UnsupportedError
from drivers.wire.cgminer import Answer, Row

TH = 1e12

_WORDS_MAX = 80
# A key starts a word, and a value without its end runs to the end of the text: the time is linear.
_PAIR = re.compile(r"\b([A-Za-z][A-Za-z0-9_]*+)\[([^\]]*+)(\]|\Z)")
NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?\Z")
_MODEL = re.compile(r"(?P<series>[0-9]{2,4})[A-Za-z]*(?:-(?P<ths>[0-9]{2,3}))?\Z")
_MAC = re.compile(r"[0-9a-f]{12}\Z")

# Names in the table of models, by what ``version`` calls the series.
_SERIES = {"15": "A1566"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """``version``: who the machine is. ``mac`` and ``dna`` are "" where it does not tell."""

    product: str
    model: str
    mac: str
    dna: str
    firmware: str

    @property
    def is_avalon(self) -> bool:
        """Whether the product is one of Canaan's."""
        return self.product.lower().startswith("avalon")

    @property
    def name(self) -> str:
        """The model's name in the table of models, as far as there is one."""
        match = _MODEL.match(self.model)
        if match is None:
            return f"Avalon {self.model}"
        return f"Avalon {_SERIES.get(match['series'], 'A' + match['series'])}"

    @property
    def bin_hashrate_hs(self) -> float | None:
        """The nameplate that stands behind the series ("1366-130"), None where none does."""
        match = _MODEL.match(self.model)
        return float(match["ths"]) * TH if match is not None and match["ths"] else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The string of ``KEY[values]``, taken apart."""

    values: Mapping[str, str]

    def has(self, key: str) -> bool:
        """Whether the firmware sends this key with a value."""
        return bool(self.values.get(key, "").strip())

    def text(self, key: str) -> str:
        """A value as it stands; "" where there is none."""
        return self.values.get(key, "").strip()

    def numbers(self, key: str) -> tuple[float, ...]:
        """All numbers of a value, none where the firmware has no such key."""
        return tuple([self._parsed(key, word) for word in self.text(key).split()])

    def number(self, key: str) -> float:
        """One number, also with a percent sign behind it. Raises BadReplyError."""
        return self._parsed(key, self.text(key).removesuffix("%"))

    def not_negative(self, key: str) -> float:
        """One number that cannot be below zero."""
        value = self.number(key)
        if value < 0:
            raise BadReplyError(f"The machine says that its {key} is negative.")
        return value

    def _parsed(self, key: str, word: str) -> float:
        if not NUMBER.match(word):
            raise BadReplyError(
                f"The machine's {key} is {word[:_WORDS_MAX]!r} and not a number: "
                "its firmware may be a version that kwota does not know."
            )
        return float(word)


def version_of(answer: Answer) -> Version:
    """``version``. Firmware is called differently by series."""
    row = answer.row("VERSION")
    firmware = next((key for key in ("VERSION", "LVERSION", "CGVERSION") if row.has(key)), None)
    return Version(
        product=_text(row, "PROD"),
        model=_text(row, "MODEL"),
        mac=_mac(_text(row, "MAC")),
        dna=_text(row, "DNA").lower(),
        firmware="" if firmware is None else _text(row, firmware),
    )


def report_of(answer: Answer) -> Report:
    """``litestats``, ``estats`` and ``stats`` alike: the machine's string of values.

    Raises UnsupportedError for a controller with several machines behind it.
    """
    rows = [row for row in answer.rows("STATS") if row.has("MM ID0") or row.has("MM ID0:Summary")]
    if len(rows) != 1:
        raise BadReplyError(
            "The machine's answer has no report of its module: it may still be starting.",
            reply=answer.reply,
        )
    row = rows[0]
    if row.has("MM Count") and row.whole("MM Count") != 1:
        raise UnsupportedError(
            "Several machines hang on one controller here: kwota reads controllers with one.",
            reply=answer.reply,
        )
    pairs = _PAIR.findall(row.text("MM ID0" if row.has("MM ID0") else "MM ID0:Summary"))
    values = {key: value for key, value, _ in pairs}
    # A value without its end takes all that follows, so only the last one can lack it.
    if pairs and not pairs[-1][2]:
        raise BadReplyError(f"The machine's {pairs[-1][0]} has no end or stands twice.")
    if len(values) < len(pairs):
        _require_one_value(pairs, values)
    return Report(values=values)


def _require_one_value(pairs: Sequence[tuple[str, str, str]], values: Mapping[str, str]) -> None:
    """A key may stand twice only with the same value."""
    for key, value, _ in pairs:
        if values[key] != value:
            raise BadReplyError(f"The machine's {key} has no end or stands twice.")


def is_report_of(report: Report, version: Version) -> bool:
    """Whether the module names the same model and DNA as ``version`` does: a sign of its own."""
    dna = report.text("DNA").lower()
    is_same_model = bool(version.model) and report.text("Ver").startswith(f"{version.model}-")
    return is_same_model and bool(dna) and dna == version.dna


def _mac(text: str) -> str:
    """With colons, whichever way the firmware writes it; "" for what is none."""
    plain = text.lower().replace(":", "").replace("-", "")
    if not _MAC.match(plain):
        return ""
    return ":".join(plain[place : place + 2] for place in range(0, 12, 2))


def _text(row: Row, key: str) -> str:
    return row.text_or_empty(key).strip()
