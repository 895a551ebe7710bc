"""The few questions of Braiins OS' GraphQL by which other projects find model and version.

Whatever else is asked gets the same two facts: this is no GraphQL.
"""

from typing import Any

from simulator.braiins_moment import Json, Moment


def graphql(at: Moment, document: Any) -> Json:
    """The answer to any query."""
    if not isinstance(document, dict) or not isinstance(document.get("query"), str):
        return {"data": None, "errors": [{"message": "no query"}]}
    info = {"version": {"full": at.build}}
    model = {"info": {"modelName": f"Bitmain {at.machine.model.name}"}}
    return {"data": {"bos": {"hostname": at.label.hostname, "info": info}, "bosminer": model}}
