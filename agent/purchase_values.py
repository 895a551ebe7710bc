"""Energy, prices and times as people and markets write them, read exactly or refused.

Takes decimal comma, spaces between thousands (also the non-breaking ones), DD.MM.YYYY and the units
of Kazakh tables. Never takes a number without a unit, nor power where energy is meant, nor a
fraction of a watt-hour.
"""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, localcontext
from zoneinfo import ZoneInfo

from agent.settings_faults import shown

DIGITS_MAX = 24
ENERGY_WH_MAX = 10**15
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEARS = range(2020, 2100)

WH_PER_UNIT = {"wh": 1, "kwh": 1_000, "mwh": 1_000_000, "gwh": 1_000_000_000}
_CYRILLIC = {
    "втч": "wh",
    "квтч": "kwh",
    "мвтч": "mwh",
    "гвтч": "gwh",
    "тысквтч": "mwh",  # the market's own unit: one thousand kWh in an hourly cell
    "млнквтч": "gwh",
}
_POWER = {"w", "kw", "mw", "gw", "вт", "квт", "мвт", "гвт"}

_SPACES = " \u00a0\u2009\u202f"  # space, non-breaking, thin, narrow non-breaking
_NUMBER = re.compile(rf"-?(?:\d{{1,3}}(?:[{_SPACES}]\d{{3}})+|\d+)(?:[.,]\d+)?", re.ASCII)
_QUANTITY = re.compile(rf"({_NUMBER.pattern})\s*(.*)", re.ASCII)
_DURATION = re.compile(r"(?:(\d{1,4})\s*h)?\s*(?:(\d{1,5})\s*m(?:in)?)?\s*(?:(\d{1,6})\s*s)?")
_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(.*)", re.ASCII)


class Unreadable(Exception):  # noqa: N818 it is a verdict on a text, not a failure of ours
    """A value cannot be taken. The message is one sentence that says the way out."""


def read_energy(text: str) -> int:
    """Whole Wh of a quantity with its unit, such as ``900 kWh`` or ``0,9 МВт·ч``."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise Unreadable(f"the energy {shown(text)} has no number and unit; write it like 900 kWh")
    return energy_of(match[1], match[2])


def energy_of(number: str | int | Decimal, unit: str) -> int:
    """Whole Wh of a number and its unit."""
    folded = re.sub(r"[\s.·⋅∙*-]", "", unit.casefold())
    if not folded:
        raise Unreadable(f"the energy {shown(number)} has no unit; write Wh, kWh or MWh with it")
    if folded in _POWER:
        raise Unreadable(f"{shown(unit)} is power, not energy; write the energy in kWh or MWh")
    factor = WH_PER_UNIT.get(_CYRILLIC.get(folded, folded))
    if factor is None:
        raise Unreadable(f"{shown(unit)} is no unit of energy; write Wh, kWh or MWh")
    words = f"the energy {shown(str(number))} {unit}"
    with localcontext(Context(prec=2 * DIGITS_MAX)):
        energy_wh = read_number(number) * factor
        if energy_wh != energy_wh.to_integral_value():
            raise Unreadable(f"{words} is not a whole number of Wh; correct the digits")
    if abs(energy_wh) > ENERGY_WH_MAX:
        raise Unreadable(f"{words} is more than any site can use; check the unit")
    return int(energy_wh)


def read_number(value: str | int | Decimal) -> Decimal:
    """The exact value of a number; a comma is a decimal comma, never a mark of thousands."""
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text) is None:
            raise Unreadable(f"{shown(value)} is not a number; write digits and one decimal mark")
        value = Decimal(re.sub(rf"[{_SPACES}]", "", text).replace(",", "."))
    number = Decimal(value)
    if not number.is_finite():
        raise Unreadable("infinity is not a number; write digits")
    digits = len(number.as_tuple().digits)
    if digits > DIGITS_MAX or abs(number.adjusted()) > DIGITS_MAX:
        raise Unreadable(f"the number has more than {DIGITS_MAX} digits; shorten it")
    return number


def read_price(value: str | int | Decimal) -> str:
    """A price in KZT per kWh without VAT as plain decimal text, one spelling for one price."""
    price = read_number(value)
    if price < 0:
        raise Unreadable("the price is below zero; write what is paid per kWh")
    if price >= 1_000_000:
        raise Unreadable("the price is a million KZT per kWh or more; check the unit")
    if price != round(price, 4):
        raise Unreadable("the price has more than four decimal places; round it as the bill does")
    text = f"{price:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def read_time(value: str | datetime, zone: ZoneInfo) -> int:
    """UTC ms of an instant; without an offset the site's zone is meant, where that is clear."""
    moment = value if isinstance(value, datetime) else _parsed(value.strip())
    if moment.year not in YEARS:
        raise Unreadable(f"the time {shown(str(value))} is not of this century; check the year")
    if moment.tzinfo is None:
        moment = _local(moment, zone)
    return (moment - EPOCH) // timedelta(milliseconds=1)


def read_date(value: str | date) -> date:
    """A day as YYYY-MM-DD or DD.MM.YYYY."""
    if isinstance(value, datetime):
        raise Unreadable(f"{shown(str(value))} is a time, not a day; write YYYY-MM-DD")
    if isinstance(value, date):
        return value
    return _parsed(value.strip()).date()


def read_duration(text: str) -> int:
    """Whole ms of a duration such as ``1h``, ``90min`` or ``1h30m``."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or not any(match.groups()):
        raise Unreadable(f"the duration {shown(text)} is unreadable; write it like 1h or 30min")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    duration_s = hours * 3600 + minutes * 60 + seconds
    if duration_s == 0:
        raise Unreadable("the duration is zero; write how long the window is")
    return duration_s * 1000


def hour_window(day: date, hour: int, zone: ZoneInfo) -> tuple[int, int]:
    """The window of one column of a market table: hour h of 1 to 24 is [h-1:00, h:00) local."""
    if not 1 <= hour <= 24:
        hint = "hour 0 is the total of the day" if hour == 0 else "a day has hours 1 to 24"
        raise Unreadable(f"hour {hour} is no window: {hint}; name an hour from 1 to 24")
    midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 local by intent
    start_ms = read_time(midnight + timedelta(hours=hour - 1), zone)
    return start_ms, start_ms + 3_600_000


def _parsed(text: str) -> datetime:
    dotted = _DOTTED.fullmatch(text)
    iso = text
    if dotted is not None:
        iso = f"{dotted[3]}-{int(dotted[2]):02}-{int(dotted[1]):02}{dotted[4]}"
    try:
        return datetime.fromisoformat(iso)
    except ValueError:
        remedy = "write 2026-01-31T14:00+05:00 or 31.01.2026 14:00"
        raise Unreadable(f"the time {shown(text)} is unreadable; {remedy}") from None


def _local(moment: datetime, zone: ZoneInfo) -> datetime:
    """A local time in the zone. Raises ValueError for one that the clocks show twice or never."""
    first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        raise Unreadable(
            f"the clocks of {zone.key} show {moment:%Y-%m-%d %H:%M} twice or never; add +05:00"
        )
    return first
