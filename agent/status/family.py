"""One metric of the exposition: what it is called, what it means, where its samples come from."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agent.status.view import SiteView, StatusView

Sample = tuple[tuple[str, ...], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric. ``samples`` yields label values, in the order of ``labels``, and the number."""

    name: str
    kind: str
    about: str
    labels: tuple[str, ...]
    samples: Callable[[SiteView], Iterable[Sample]]


def status_family(
    name: str, about: str, number: Callable[[StatusView], float | None], kind: str = "gauge"
) -> Family:
    """A metric with one number of the status document; None has no sample."""
    return Family(
        name=name,
        kind=kind,
        about=about,
        labels=(),
        samples=lambda view: (((), number(view.status)),),
    )
