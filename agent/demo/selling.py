"""The demonstration's pool sells to its agent: signed batches over the broker, each answered."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence

from agent.demo.child import ChildError
from agent.demo.site import AGENT, FARM, Window, purchases_json

ROWS_PER_BATCH = 100
ANSWER_S = 40.0


def sell_through_pool(control_url: str, windows: Sequence[Window]) -> None:
    """Returns when the agent has taken all of them. Raises ChildError where it did not."""
    for first in range(0, len(windows), ROWS_PER_BATCH):
        part = list(windows[first : first + ROWS_PER_BATCH])
        rows = json.loads(purchases_json(part))["purchases"]
        order = {"farm": FARM, "agent": AGENT, "transactions": rows}
        request = urllib.request.Request(  # noqa: S310 - the farm's own address on loopback
            f"{control_url}/v1/pool/transactions",
            data=json.dumps(order).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as reply:  # noqa: S310
                answer = json.loads(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                raise ChildError(f"the pool sold nothing: {error.read().decode()}") from error
        except (OSError, ValueError) as error:
            raise ChildError(f"the pool cannot be told to sell: {error}") from error
        if answer["result"] != "taken":
            raise ChildError(f"the agent refused what the pool sold: {answer['words']}")
        for item in answer["items"]:
            if item["result"] == "refused":
                raise ChildError(f"the agent refused {item['transaction_id']}: {item['reason']}")
