"""The verb ``evidence export``: the whole log as a folder, or a part of it as a zip."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.commands.console import (
    Code,
    CommandError,
    ConfigOption,
    JsonOption,
    SocketOption,
    print_json,
    refused,
    say,
    socket_of,
)
from agent.commands.waiting import waiting
from agent.control_client import NoDaemonError, RefusedError, export_evidence, export_zip
from agent.core.note import VerifierKey, parse_note
from agent.epochs import key_of_epoch
from agent.handover.export import Exported
from agent.handover.export import export_zip as write_zip
from agent.handover.ocmfkey import OcmfSigner, ocmf_key_file, ocmf_signer
from agent.handover.selection import SelectionError, Wanted
from agent.handover.source import StoppedJournal, open_stopped
from agent.keys import KeyFileError, load_log_key, load_vkey, load_vkeys
from agent.logfile import LogError
from agent.settings import load_settings
from agent.settings_faults import SettingsError

evidence = typer.Typer(no_args_is_help=True, help="Hand over what an auditor verifies.")

_Vkey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="With --journal: the log's public key (vkey)."),
]
_PoolVkey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="With --journal: the pool's public key (vkey)."),
]


@evidence.command()
def export(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A directory or zip to be made.")],
    *,
    transaction: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only what concerns this purchase; may be repeated."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="2026-01-31T14:00+05:00 or …Z.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Up to and without this time.")
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Read the journal of a stopped agent instead."),
    ] = None,
    key: _Vkey = None,
    pool_key: _PoolVkey = None,
    is_json: JsonOption = False,
    config: ConfigOption = None,
    socket: SocketOption = None,
) -> None:
    """Have the daemon hand over its log: all of it into a directory, or a part as one zip.

    With --transaction, --from, --to or --journal PATH is a zip with everything that a stranger
    needs: records, proofs, signatures, keys, receipts and a verifier. Without them PATH is a
    directory for the whole log. The daemon writes it, so it must be a place where it may write.
    With --journal no daemon is asked; the keys are those given, or those that --config names.
    Of each closed purchase there is an OCMF record as well, where the agent's own key may be read.

    Exit 0: written; 2: wrong input; 3: no daemon answers; 4: refused.
    """
    try:
        wanted = Wanted(
            transactions=tuple(transaction or ()), from_ms=_ms_of(since), to_ms=_ms_of(until)
        )
    except SelectionError as error:
        raise CommandError(str(error), Code.WRONG_INPUT) from error
    if journal is not None:
        keys = _keys(key, pool_key, config)
        with waiting(f"writing {path}", is_json=is_json):
            written = _written(journal, path, wanted, keys, config)
        _tell(path, written, is_json=is_json)
    elif key is not None or pool_key is not None:
        raise CommandError("the daemon has its keys: --key goes with --journal", Code.WRONG_INPUT)
    elif wanted == Wanted():
        _export_all(path, socket_of(socket, config), is_json=is_json)
    else:
        fields: dict[str, list[str] | int | None] = {
            "transactions": list(wanted.transactions),
            "from_ms": wanted.from_ms,
            "to_ms": wanted.to_ms,
        }
        try:
            with waiting(f"the daemon writes {path}", is_json=is_json):
                exported = export_zip(socket_of(socket, config), path, **fields)
        except (NoDaemonError, RefusedError) as error:
            raise refused(error) from error
        _tell(path, exported, is_json=is_json)


def _export_all(directory: Path, socket: Path, *, is_json: bool) -> None:
    try:
        with waiting(f"the daemon writes {directory}", is_json=is_json):
            records = export_evidence(socket, directory)
    except (NoDaemonError, RefusedError) as error:
        raise refused(error) from error
    if is_json:
        print_json({"directory": str(directory.absolute()), "records": records})
    say(f"{records} records are in {directory}; prove them with `kwota verify {directory}`")


def _written(
    journal: Path,
    file: Path,
    wanted: Wanted,
    keys: tuple[Sequence[VerifierKey], VerifierKey | None],
    config: Path | None,
) -> dict[str, Any]:
    try:
        with open_stopped(journal) as source:
            named = [key_of_epoch(key, source.origin) for key in keys[0]]
            ocmf = _signer(config, source.origin)
            exported = asyncio.run(_export(source, file, wanted, (named, keys[1]), ocmf))
    except (SelectionError, LogError) as error:
        raise CommandError(str(error), Code.WRONG_INPUT) from error
    except OSError as error:
        words = f"{file} cannot be written ({error.strerror}); name a new file"
        raise CommandError(words, Code.REFUSED) from error
    return {
        "records": exported.records,
        "size": exported.size,
        "is_cosigned": exported.is_cosigned,
        "transactions": list(exported.transactions),
    }


async def _export(
    source: StoppedJournal,
    file: Path,
    wanted: Wanted,
    keys: tuple[Sequence[VerifierKey], VerifierKey | None],
    ocmf: OcmfSigner | None,
) -> Exported:
    """With that of the log's keys which has signed it last, where there are several."""
    newest = await source.newest_checkpoint(0, source.size)
    signatures = parse_note(newest.note).signatures if newest is not None else ()
    devices, pool = keys
    device = next((key for key in devices if any(one.is_by(key) for one in signatures)), devices[0])
    return await write_zip(source, file, wanted, device=device, pool=pool, ocmf=ocmf)


def _signer(config: Path | None, origin: str) -> OcmfSigner | None:
    """What signs OCMF records, where this user may read the log's key. None: no such records."""
    if config is None:
        return None
    try:
        settings = load_settings(config)
        log_key = load_log_key(settings.journal.key_file, settings.origin).named(origin)
        return ocmf_signer(ocmf_key_file(settings.journal), log_key)
    except (SettingsError, KeyFileError) as error:
        say(f"No OCMF records are written: {error}")
        return None


def _tell(file: Path, exported: dict[str, Any], *, is_json: bool) -> None:
    if is_json:
        print_json({"file": str(file.absolute()), **exported})
    how = "" if exported["is_cosigned"] else "; the pool has not cosigned all of it yet"
    say(
        f"{exported['records']} records and {len(exported['transactions'])} receipts are in"
        f" {file}{how}; prove them with `kwota verify {file}` or the verify.py inside"
    )


def _keys(
    key: Path | None, pool_key: Path | None, config: Path | None
) -> tuple[Sequence[VerifierKey], VerifierKey | None]:
    """The public keys that lie in the zip beside a stopped agent's records."""
    try:
        if config is not None:
            settings = load_settings(config)
            key = key or settings.journal.key_file.with_suffix(".vkey")
            if settings.mqtt is not None:
                pool_key = pool_key or settings.mqtt.pool_vkey_file
        if key is None:
            words = "a journal does not hold its public key: give --key FILE or --config FILE"
            raise CommandError(words, Code.WRONG_INPUT)
        return load_vkeys(key), None if pool_key is None else load_vkey(pool_key)
    except (SettingsError, KeyFileError) as error:
        raise CommandError(str(error), Code.WRONG_INPUT) from error


def _ms_of(text: str | None) -> int | None:
    """A moment in UTC ms. Raises CommandError."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        words = f"{text!r} is no time; write 2026-01-31T14:00+05:00"
        raise CommandError(words, Code.WRONG_INPUT) from error
    if moment.tzinfo is None:
        words = f"{text!r} has no zone; write 2026-01-31T14:00+05:00, or Z at the end for UTC"
        raise CommandError(words, Code.WRONG_INPUT)
    return round(moment.timestamp() * 1000)
