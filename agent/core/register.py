"""From what a meter shows to the coordinate of the ledger, and what became of the way there.

The coordinate only grows. A register that wraps goes on in it by itself; one that was exchanged,
reset or moved goes on by a person's word, or with all charged that may have flowed meanwhile
(``agent.core.rebase``).
"""

from dataclasses import dataclass

from agent.core.samples import MeterTraits

WRAP_MARGIN = 100  # a wrap is believed within one part in so many of the modulus, at either end


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterEvent:
    """What happened to a register: held, released, wrapped, accepted, resumed or exchanged.

    ``register_wh`` is what the meter showed, ``offset_wh`` the coordinate minus that from here on.
    ``least_wh`` and ``unknown_wh`` bound what flowed unmeasured: of it at least the one, at most
    the other, which is what the books charge. ``serial`` is the meter that the books go by now.
    """

    event: str
    at_ms: int
    register_wh: int
    offset_wh: int
    reason: str
    serial: str
    least_wh: int = 0
    unknown_wh: int = 0


def wrap_wh(traits: MeterTraits, *, before_wh: int, shown_wh: int) -> int:
    """The modulus where a register that shows less than before has surely wrapped, else 0.

    A register that falls anywhere else, or a meter that never wraps as far as its profile knows,
    did something else.
    """
    modulus_wh = traits.modulus_wh
    if modulus_wh is None or shown_wh >= before_wh:
        return 0
    margin_wh = modulus_wh // WRAP_MARGIN
    is_end = before_wh >= modulus_wh - margin_wh and shown_wh <= margin_wh
    return modulus_wh if is_end else 0


def stranger_words(known: str, seen: str) -> str:
    """Why a meter with another serial is not believed; empty where it is the one in the books."""
    if not known or not seen or known == seen:
        return ""
    return (
        f"the meter has the serial {seen}, the books go by {known}; if it was exchanged, "
        "say so: kwota meters exchange, with the last and the first register value"
    )
