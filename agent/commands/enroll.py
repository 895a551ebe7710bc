"""kwota enroll: the keys of this device, made here, and what the pool must know of them."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from agent.commands.console import Code, CommandError, JsonOption, print_json, print_text, say
from agent.commands.qr import qr_lines
from agent.control_client import TAIL_MAX, NoDaemonError, RefusedError, ask
from agent.keychange import complete_change, prepare_change, require_named
from agent.keys import Enrolment, KeyFileError, enroll
from agent.logfile import LogError, connected
from agent.settings import MqttSettings, Settings, load_settings
from agent.settings_faults import SettingsError
from agent.tlskeys import (
    CertificateError,
    Device,
    Request,
    checked_certificate,
    load_tls_key,
    put_in_place,
    read_pem,
    request_certificate,
)


def enroll_device(
    *,
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="The site's file.")],
    csr: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the request goes. Default: beside its key."),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Take the certificate that the pool sent back."),
    ] = None,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Make the log's next key, to sign beside this one.")
    ] = False,
    retire: Annotated[
        bool, typer.Option("--retire", help="Let the next key take this one's place.")
    ] = False,
    is_qr: Annotated[
        bool | None,
        typer.Option("--qr/--no-qr", help="Show a QR code. Default: where a terminal is."),
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """Make the keys of this device, and show what the pool must know of them.

    The log's key and the key of the TLS connection go into the files that the configuration names;
    what is there is kept, whatever it is. No private key ever leaves its file. With --certificate
    the pool's answer is checked and put in its place. The log's key is changed with --rotate, a
    restart of the daemon, --retire and another restart: docs/keys.md.

    Exit 0: made, or there already; 2: something does not fit, and nothing was replaced.
    """
    if (certificate is not None) + rotate + retire > 1:
        raise CommandError(
            "--certificate, --rotate and --retire are one step each", Code.WRONG_INPUT
        )
    try:
        settings = load_settings(config)
        if certificate is not None:
            _install(settings, certificate, is_json=is_json)
        elif rotate:
            _rotate(settings, is_json=is_json)
        elif retire:
            _retire(settings, is_json=is_json)
        else:
            _enroll(settings, csr, is_qr=is_qr, is_json=is_json)
    except (SettingsError, KeyFileError, CertificateError) as error:
        raise CommandError(str(error), Code.WRONG_INPUT) from error
    except OSError as error:
        sentence = f"{error.filename} cannot be written ({error.strerror}): run it as its owner"
        raise CommandError(sentence, Code.WRONG_INPUT) from error


def _enroll(settings: Settings, csr: Path | None, *, is_qr: bool | None, is_json: bool) -> None:
    device = Device(farm=settings.site.farm, agent=settings.site.agent)
    made = enroll(settings.journal.key_file, settings.origin)
    request = _request(settings.mqtt, csr, device)
    if is_json:
        print_json(_document(device, made, request))
        return
    say("Give the pool this key, and read it the fingerprint by another channel:")
    print_text(f"{made.vkey}\n")
    say(f"device      {device.name}")
    say(f"fingerprint {made.fingerprint}")
    if is_qr if is_qr is not None else sys.stdout.isatty():
        text = f"{device.name}\n{made.vkey}\n{made.fingerprint}"
        lines = qr_lines(text, is_coloured=sys.stdout.isatty())
        print_text("".join(f"{line}\n" for line in lines))
    say(_told(made.key_file, is_new=made.is_new))
    if request is None:
        say("No TLS key is asked for: mqtt.tls_key_file and mqtt.cert_file are not in the file.")
        return
    say(_told(request.key_file, is_new=request.is_new_key))
    say(_told(request.csr_file, is_new=request.is_new))
    say("Have the pool sign the request, and hand in its answer with --certificate FILE.")


def _request(mqtt: MqttSettings | None, csr: Path | None, device: Device) -> Request | None:
    if mqtt is None or mqtt.tls_key_file is None:
        if csr is None:
            return None
        raise KeyFileError("There is no TLS key to request for: name mqtt.tls_key_file.")
    key_file = mqtt.tls_key_file
    return request_certificate(key_file, csr or key_file.with_suffix(".csr"), device)


def _document(device: Device, made: Enrolment, request: Request | None) -> dict[str, Any]:
    return {
        "device": device.name,
        "origin": made.origin,
        "vkey": made.vkey,
        "fingerprint": made.fingerprint,
        "is_new": made.is_new,
        "tls": None
        if request is None
        else {
            "csr": str(request.csr_file),
            "is_new_key": request.is_new_key,
            "is_new": request.is_new,
        },
    }


def _told(path: Path, *, is_new: bool) -> str:
    return f"{path} was made" if is_new else f"{path} is there already and is kept"


def _rotate(settings: Settings, *, is_json: bool) -> None:
    made = prepare_change(settings.journal.key_file, settings.origin)
    if is_json:
        print_json({"vkey": made.vkey, "fingerprint": made.fingerprint, "is_new": made.is_new})
        return
    say(_told(made.key_file, is_new=made.is_new))
    print_text(f"{made.vkey}\n")
    say(f"fingerprint {made.fingerprint}")
    say("Restart the daemon: both keys sign then, and the log itself tells the pool of this one.")
    say("When the pool has cosigned that, run --retire.")


def _retire(settings: Settings, *, is_json: bool) -> None:
    key_file, origin = settings.journal.key_file, settings.origin
    said, cosigned_size = _on_record(settings)
    if settings.mqtt is None:
        cosigned_size = sys.maxsize  # there is no pool to wait for
    require_named(key_file, origin, said, cosigned_size)
    done = complete_change(key_file, origin)
    if is_json:
        print_json({"vkey": done.vkey, "aside": str(done.aside)})
        return
    say(f"{key_file} is the next key now; restart the daemon, and the old one is retired.")
    say(f"Nothing needs {done.aside} any more: destroy it (shred -u).")


def _on_record(settings: Settings) -> tuple[list[tuple[int, dict[str, Any]]], int]:
    """What the log says of keys, and how far the pool has it; of the daemon, or of its file."""
    try:
        path = settings.status.socket
        lines = ask(path, "/control/v1/journal", tail=TAIL_MAX, kind="key").splitlines()
        size = orjson.loads(ask(path, "/api/v1/status"))["delivery"]["cosigned_size"]
    except NoDaemonError:
        lines, size = _in_file(settings.journal.path)
    except RefusedError as error:
        raise KeyFileError(f"The daemon does not say what its log holds: {error}.") from error
    records = [orjson.loads(line) for line in lines]
    return [(record["i"], record["d"]) for record in records], size


def _in_file(path: Path) -> tuple[list[bytes], int]:
    if not path.exists():
        return [], 0
    try:
        with closing(connected(path)) as connection:
            rows = connection.execute("SELECT body FROM records WHERE kind = 'key' ORDER BY i")
            lines = [bytes(body) for (body,) in rows]
            row = connection.execute("SELECT cosigned_size FROM head").fetchone()
    except (LogError, sqlite3.Error) as error:
        raise KeyFileError(f"{path} cannot be asked what keys it names: {error}.") from error
    return lines, 0 if row is None else int(row[0])


def _install(settings: Settings, certificate: Path, *, is_json: bool) -> None:
    mqtt = settings.mqtt
    if mqtt is None or mqtt.tls_key_file is None or mqtt.cert_file is None:
        raise CertificateError(
            "The configuration has no place for it: name mqtt.tls_key_file and mqtt.cert_file."
        )
    if mqtt.ca_file is None:
        raise CertificateError(
            "There is no authority to check it against: name the pool's in mqtt.ca_file."
        )
    content = read_pem(certificate)
    key = load_tls_key(mqtt.tls_key_file)
    leaf = checked_certificate(content, key=key, authorities=read_pem(mqtt.ca_file))
    is_new = put_in_place(mqtt.cert_file, content)
    until = leaf.not_valid_after_utc
    if is_json:
        print_json(
            {
                "cert_file": str(mqtt.cert_file),
                "subject": leaf.subject.rfc4514_string(),
                "valid_until": until.isoformat(),
                "is_new": is_new,
            }
        )
        return
    state = "is in place" if is_new else "is there already, and nothing was changed"
    say(f"{mqtt.cert_file} {state}; valid until {until:%Y-%m-%d %H:%M} UTC")
    if is_new:
        say("The daemon uses it with its next connection to the broker.")
