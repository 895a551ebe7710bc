"""The files of a site: keys, secrets, policy, the journal's folder. Nothing is made or changed."""

import os
import pwd
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from agent.doctor.finding import Finding, failed, fine, warning
from agent.keys import KeyFileError, fingerprint, load_log_keys, load_vkey, read_private_file
from agent.policy import load_policy
from agent.settings import Settings, missing_files
from agent.settings_faults import SettingsError

SERVICE_USER = "kwota"  # as in systemd/kwota.service
_POLICY_OLD_DAYS = 366


def file_findings(settings: Settings) -> Iterator[Finding]:
    """Everything that the configuration names."""
    faults = missing_files(settings)
    for fault in faults:
        remedy = fault.remedy
        if fault.key == "journal.key_file":
            remedy = (
                f"kwota enroll --config {settings.path}, and give the pool the key that it prints"
            )
        yield failed("file", fault.key, fault.reason, remedy)
    gone = {fault.key for fault in faults}
    if "journal.key_file" not in gone:
        yield _log_key(settings)
    if "policy.file" not in gone:
        yield _policy(settings.policy.file)
    if settings.mqtt is not None and "mqtt.pool_vkey_file" not in gone:
        yield _pool_key(settings.mqtt.pool_vkey_file)
    signing = None if settings.mqtt is None else settings.mqtt.pool_signing_vkey_file
    if signing is not None and "mqtt.pool_signing_vkey_file" not in gone:
        yield _pool_key(signing)
    for key, path in _secrets(settings):
        if key not in gone:
            yield _secret(key, path)
    yield journal_folder(settings.journal.path)
    if settings.journal.path.exists():
        yield _journal_file(settings.journal.path)


def _log_key(settings: Settings) -> Finding:
    origin = f"{settings.journal.origin_domain}/edge/{settings.site.farm}-{settings.site.agent}/1"
    path = settings.journal.key_file
    try:
        key = load_log_keys(path, origin)
    except KeyFileError as error:
        return failed("log key", str(path), str(error), _remedy_of(path))
    words = f"fingerprint {fingerprint(key.verifier)[:19]} …"
    if key.successor is not None:
        words += f", and {fingerprint(key.successor.verifier)[:19]} … follows on it"
    return fine("log key", str(path), words)


def _remedy_of(path: Path) -> str:
    if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        return f"chmod 600 {path}"
    return "make one with `kwota enroll`, and give the pool the key that it prints"


def _policy(path: Path) -> Finding:
    today = datetime.now(UTC).date()
    try:
        version = load_policy(path).at(today)
    except SettingsError as error:
        fault = error.faults[0]
        return failed("policy", str(path), f"{fault.key} {fault.reason}", fault.remedy)
    if (today - version.valid_from).days > _POLICY_OLD_DAYS:
        return warning(
            "policy",
            str(path),
            f"its newest version is of {version.valid_from}",
            "see whether caps, fees or pools have changed since, and add a version",
        )
    return fine("policy", str(path), f"version of {version.valid_from}")


def _pool_key(path: Path) -> Finding:
    try:
        key = load_vkey(path)
    except KeyFileError as error:
        return failed("pool key", str(path), str(error), "ask the pool for its verifier key")
    return fine("pool key", str(path), key.name)


def _secrets(settings: Settings) -> Iterator[tuple[str, Path]]:
    for name in ("token_file", "tls_key_file"):
        path = getattr(settings.status, name)
        if path is not None:
            yield f"status.{name}", path
    if settings.alarms.webhook_token_file is not None:
        yield "alarms.webhook_token_file", settings.alarms.webhook_token_file
    home = settings.homeassistant
    if home is not None and home.password_file is not None:
        yield "homeassistant.password_file", home.password_file
    if settings.mqtt is not None:
        for name in ("tls_key_file", "password_file"):
            path = getattr(settings.mqtt, name)
            if path is not None:
                yield f"mqtt.{name}", path
    seen = set()
    for at, miner in enumerate(settings.miners):
        if miner.password_file is not None and miner.password_file not in seen:
            seen.add(miner.password_file)
            yield f"miners[{at}].password_file", miner.password_file


def _secret(key: str, path: Path) -> Finding:
    try:
        content = read_private_file(path)
    except KeyFileError as error:
        return failed("secret", key, str(error), f"chmod 600 {path}")
    if not content.strip():
        return failed("secret", key, f"{path} is empty", "write the secret into its first line")
    return fine("secret", key, "only its owner can read it")


def journal_folder(path: Path, service: str = SERVICE_USER) -> Finding:
    """Whether the daemon can write: root may everything, so for root the service's user counts."""
    folder = path.parent
    if not folder.is_dir():
        remedy = f"mkdir -m 700 {folder}, and give it to the user of the service"
        return failed("journal", str(folder), "the folder is not there", remedy)
    user = _user(service) if os.geteuid() == 0 else None
    by = "" if user is None else f" by {service}"
    if not _may(user, folder, os.W_OK | os.X_OK):
        remedy = f"chown it to the user that kwota runs as: chown {service} {folder}"
        return failed("journal", str(folder), f"nothing can be written into it{by}", remedy)
    if path.exists() and not _may(user, path, os.W_OK):
        return failed("journal", str(path), f"cannot be written{by}", f"chown {service} {path}")
    return fine("journal", str(folder), f"can be written{by}")


def _user(name: str) -> pwd.struct_passwd | None:
    """None: there is no such user on this machine, and the service is not installed as one."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _may(user: pwd.struct_passwd | None, path: Path, wanted: int) -> bool:
    """Whether a user may, by owner, group and others; None: whoever asks."""
    if user is None or user.pw_uid == 0:
        return os.access(path, wanted)
    found = path.stat()
    shift = 0
    if found.st_uid == user.pw_uid:
        shift = 6
    elif found.st_gid in os.getgrouplist(user.pw_name, user.pw_gid):
        shift = 3
    return (found.st_mode >> shift) & wanted == wanted


def _journal_file(path: Path) -> Finding:
    """Looked at beside a daemon that may hold it: then its own integrity is the daemon's to say."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0.2)) as connection:
            answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return fine("journal", str(path), "a running daemon holds it")
        return failed("journal", str(path), f"cannot be read: {error}", _KEEP)
    except sqlite3.DatabaseError as error:
        return failed("journal", str(path), f"is no journal: {error}", _KEEP)
    if answer != "ok":
        return failed("journal", str(path), f"is damaged: {answer}", _KEEP)
    return fine("journal", str(path), "whole; `kwota verify` proves what is in it")


_KEEP = "move it away and keep it as evidence; the daemon then begins a new one"
