"""What happens when the one-file verifier is run: arguments, and the verdict for people."""

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from agent.core.note import NoteError, VerifierKey, parse_vkey
from agent.handover.check import Verdict, check_bundle
from agent.handover.seals import listed_one
from agent.handover.shape import BundleError, members_of


def run_script(arguments: list[str]) -> int:
    """Check what the arguments name. 0: sound; 1: faults are listed; 2: cannot be read."""
    parser = argparse.ArgumentParser(
        prog="verify.py",
        description="Check an evidence bundle: exit 0 sound, 1 faults, 2 cannot be read.",
    )
    parser.add_argument("bundle", type=Path, help="the zip, or the folder it was unpacked into")
    parser.add_argument("--key", type=Path, help="the log's public key, from the pool's register")
    parser.add_argument("--pool-key", type=Path, help="the pool's public key, from the pool")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    given = parser.parse_args(arguments)
    try:
        members, pools = members_of(given.bundle), _keys(given.pool_key)
        verdict = check_bundle(
            members,
            device=listed_one(_keys(given.key), members),
            pool=pools[0] if pools else None,
        )
    except (BundleError, NoteError, OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if given.json:
        text = json.dumps({**asdict(verdict), "is_sound": not verdict.faults})
    else:
        text = _words(verdict)
    sys.stdout.write(text + "\n")
    return 1 if verdict.faults else 0


def _keys(path: Path | None) -> list[VerifierKey]:
    """The keys of a file, one a line: those of a log whose key was changed are several."""
    lines = [] if path is None else path.read_text(encoding="utf-8").strip().splitlines() or [""]
    return [parse_vkey(line) for line in lines]


def _words(verdict: Verdict) -> str:
    lines = [
        f"log         {verdict.origin}",
        f"checkpoint  {verdict.size} records, root {verdict.root}",
        f"records     {verdict.records} of them are here and proven",
    ]
    if verdict.cosigned_at_s is not None:
        moment = datetime.fromtimestamp(verdict.cosigned_at_s, UTC)
        lines.append(
            f"pool        had {verdict.cosigned_size} records at {moment:%Y-%m-%d %H:%M:%S} UTC"
        )
    lines += [f"receipt     {name}: says what the records say" for name in verdict.transactions]
    lines += [f"remark      {remark}" for remark in verdict.remarks]
    lines += [f"FAULT       {fault.words}" for fault in verdict.faults]
    lines.append(f"NOT SOUND: {len(verdict.faults)} faults" if verdict.faults else "SOUND")
    return "\n".join(lines)
