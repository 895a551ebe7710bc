"""What the daemon asks of its own process: open files, and a rare collector of garbage."""

import gc
import resource

# So many objects more than were freed: the young ones are looked through then, the old ones at a
# hundredth of that pace. Python's own 700 makes it look through a large fleet every few seconds.
COLLECTED_EVERY = 20_000


def prepare() -> None:
    """As many open files as this account may have, since every machine under way needs one; and
    seldom a pause of the collector, which with thousands of machines lasts half a second.

    Nearly everything is freed as it falls out of use, without the collector: it is for cycles.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.set_threshold(COLLECTED_EVERY)
