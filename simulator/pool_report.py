"""What the pool signs when an agent has shown it two logs under one name."""

import json

PURPOSE = "kwota/equivocation/v1"


def report_text(
    farm: str, agent: str, *, origin: str, seen: bytes, shown: bytes, words: str, at_ms: int
) -> str | None:
    """The text to sign; None where the two heads are the same and so show nothing.

    ``seen`` is the note that the pool cosigned last, ``shown`` the one that came with the message.
    """
    seen_head, shown_head = (note.partition(b"\n\n")[0] for note in (seen, shown))
    if seen_head == shown_head:
        return None
    seen_size, shown_size = (int(head.split(b"\n")[1]) for head in (seen_head, shown_head))
    reason = "forked"
    if shown_size <= seen_size:
        reason = "another_root" if shown_size == seen_size else "went_back"
    body = {
        "v": 1,
        "farm": farm,
        "agent": agent,
        "origin": origin,
        "reason": reason,
        "words": words,
        "at_ms": at_ms,
        "seen": seen.decode(),
        "shown": shown.decode(),
    }
    return f"{PURPOSE}\n{json.dumps(body, separators=(',', ':'))}\n"
