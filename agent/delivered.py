"""How delivery to the pool stands, for the page and for the alarms."""

from collections.abc import Iterator

from agent.alarms import Condition
from agent.journal import Journal
from agent.publisher import Publisher
from agent.status.view import DeliveryView


def delivery_view(journal: Journal, origin: str, publisher: Publisher | None) -> DeliveryView:
    """What the pool has of the journal; without a broker there is no publisher."""
    delivery = None if publisher is None else publisher.delivery
    return DeliveryView(
        origin=origin,
        journal_size=journal.size,
        cosigned_size=journal.cosigned_size,
        unsent=journal.size - journal.cosigned_size,
        last_receipt_ms=None if delivery is None else delivery.last_receipt_ms,
        broker="off" if delivery is None else delivery.broker,
        words="No broker is configured." if delivery is None else delivery.words,
    )


def delivery_conditions(journal: Journal, publisher: Publisher | None) -> Iterator[Condition]:
    """What is wrong with it."""
    if journal.opening is not None and not journal.cosigned_size:
        yield Condition(
            code="LOG_EPOCH",
            severity="critical",
            source="journal",
            words=f"a new epoch of the log was opened: {journal.opening['words']}",
            remedy="find out who set the disk back; import the purchases made since; "
            f"hand the pool the key {journal.key.verifier.text}",
        )
    for fault in () if publisher is None else publisher.delivery.faults:
        yield Condition(
            code=fault.code,
            severity=fault.severity,
            source="delivery",
            words=fault.words,
            remedy=fault.remedy,
        )
