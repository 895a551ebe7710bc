"""Which pools a licensed miner may mine through, as the policy of a day lists them.

Mining through others is not allowed (Law on digital assets of the Republic of Kazakhstan of
6 February 2023, as the policy file quotes it). Where the policy lists none, nothing is known: then
no pool is called allowed, and none forbidden.
"""

from dataclasses import dataclass
from datetime import date
from urllib.parse import urlsplit

from agent.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Accreditation:
    """The hosts of accredited pools, in lower case; an empty list says nothing."""

    hosts: frozenset[str]

    def allows(self, url: str) -> bool | None:
        """Whether a machine may mine there: one of the hosts or a part of one. None: unknown."""
        if not self.hosts:
            return None
        host = pool_host(url)
        return any(host == one or host.endswith(f".{one}") for one in self.hosts)


def accreditation_on(policy: Policy, day: date) -> Accreditation:
    """What the policy says on a day. Before its first version it says nothing."""
    valid = [version for version in policy.versions if version.valid_from <= day]
    pools = valid[-1].accredited_pools if valid else ()
    return Accreditation(
        hosts=frozenset(host.lower().rstrip(".") for pool in pools for host in pool.hosts)
    )


def pool_host(url: str) -> str:
    """The host of a pool's address as machines write it: with a scheme or without; may be empty."""
    text = url if "://" in url else f"stratum+tcp://{url}"
    try:
        return (urlsplit(text).hostname or "").rstrip(".")
    except ValueError:
        return ""
