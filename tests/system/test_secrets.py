"""A site with every kind of secret, whose log key is changed meanwhile: none shows anywhere.

The secrets are planted, so that what is looked for is known to the byte: private keys, a broker's
password, a token for the page and one for the webhook.
"""

import base64
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from ports import free_port

from agent.control_client import ask
from agent.keys import load_vkeys

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

PASSWORD = "Planted-passw0rd/of+the=broker"
TOKEN = "planted-token-0123456789abcdef-of-the-page"
HOOK = "planted-token-0123456789abcdef-of-the-hook"


def openssl(directory: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)


def make_authority(directory: Path) -> None:
    """The pool's authority and its broker's certificate."""
    subject = ("-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj")
    openssl(
        directory,
        *("req", "-x509", *subject, "/CN=pool-ca", "-days", "9"),
        *("-keyout", "ca.key", "-out", "ca.pem"),
    )
    openssl(
        directory, "req", *subject, "/CN=localhost", "-keyout", "broker.key", "-out", "broker.csr"
    )
    sign(directory, "broker.csr", "broker.pem", "subjectAltName=IP:127.0.0.1")


def sign(directory: Path, csr: str, out: str, extension: str) -> None:
    (directory / "ext").write_text(extension + "\n")
    signer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-days", "9", "-extfile", "ext")
    openssl(directory, "x509", "-req", "-in", csr, "-out", out, *signer)


def configure(site, tls_port: int) -> None:
    """TLS with a key of our own, and a file for every secret that a site may have."""
    for name, secret in (("mqtt.pass", PASSWORD), ("status.token", TOKEN), ("hook.token", HOOK)):
        (site.directory / name).write_text(secret + "\n")
        (site.directory / name).chmod(0o600)
    files = 'ca_file = "ca.pem"\ncert_file = "edge.pem"\ntls_key_file = "edge.key"\n'
    user = 'user = "planted-user"\npassword_file = "mqtt.pass"\n'
    site.change_config(f'brokers = ["{site.broker}"]\n', f"{broker_line(tls_port)}{files}{user}")
    site.change_config("[status]\n", '[status]\ntoken_file = "status.token"\n')
    with site.config.open("a") as file:
        file.write('\n[alarms]\nwebhook_url = "http://127.0.0.1:9/hook"\n')
        file.write('webhook_token_file = "hook.token"\n')


def broker_line(port: int) -> str:
    return f'brokers = ["mqtts://127.0.0.1:{port}"]\n'


@pytest.fixture
def secretive(site):
    """A site whose daemon is enrolled and not started yet."""
    make_authority(site.directory)
    tls_port = free_port()
    names = (("cafile", "ca.pem"), ("certfile", "broker.pem"), ("keyfile", "broker.key"))
    site.start_broker(
        "allow_anonymous true",
        *("user root", f"listener {tls_port} 127.0.0.1", "require_certificate true"),
        *(f"{name} {site.directory / file}" for name, file in names),
    )
    site.start_farm(2)
    configure(site, tls_port)
    enroll(site)
    client = "extendedKeyUsage=clientAuth"
    sign(site.directory, "edge.csr", "signed.pem", client)
    enroll(site, "--certificate", "signed.pem")
    return site


def enroll(site, *words: str) -> None:
    done = site.kwota("enroll", "--config", str(site.config), *words)
    assert done.returncode == 0, done.stderr
    (site.directory / f"enroll-{len(list(site.directory.iterdir()))}.said").write_text(
        done.stdout + done.stderr
    )


def test_the_key_is_changed_in_a_running_site_and_no_secret_shows_anywhere(secretive) -> None:
    site = secretive
    site.start_agent().stop()  # the pool meets the first key, or at least its records
    enroll(site, "--rotate")
    site.start_agent()
    site.wait_for_receipts()
    shown = seen(site)
    enroll(site, "--retire")
    site.agent.stop()
    site.agent = None
    dying = site.start_agent(PYTHONFAULTHANDLER="1")
    site.wait_for_receipts()
    shown += seen(site)
    first, second = load_vkeys(site.directory / "log.vkey")
    (log,) = site.truth("/v1/pool")["logs"].values()
    assert log["keys"] == [second.key_id.hex()]
    assert site.truth("/v1/pool")["rejects"] == {}

    site.agent = None
    dying.process.send_signal(signal.SIGABRT)  # as the watchdog does: where it hangs is written
    dying.process.wait()
    assert b"most recent call first" in dying.log.read_bytes()
    (site.directory / "edge.key").chmod(0o640)
    refused = site.kwota("run", "--config", str(site.config))
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "run chmod 600" in refused.stderr
    (site.directory / "edge.key").chmod(0o600)
    code, report = site.verify()
    assert (code, report["defects"]) == (0, [])
    assert any(first.key_id.hex() in remark for remark in report["remarks"])

    secrets = dict(secrets_of(site.directory))
    assert len(secrets) > 20
    texts = {**dict(files_of(site.directory)), "what the daemon showed": shown}
    assert {"journal.sqlite", "journal.sqlite.head", "broker.log"} <= texts.keys()
    assert found({**texts, "decoy": PASSWORD.encode()}, secrets) == [("decoy", "mqtt.pass")]
    assert found(texts, secrets) == []


def seen(site) -> bytes:
    """Status, metrics and what the system shows of the process to everybody."""
    process = Path("/proc") / str(site.agent.process.pid)
    parts = [(process / name).read_bytes() for name in ("cmdline", "environ", "maps")]
    parts += [ask(site.socket, f"/api/v1/{name}") for name in ("status", "miners")]
    parts.append(ask(site.socket, "/metrics"))
    return b"\n".join(parts)


def secrets_of(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Each secret in the forms in which it might get out, named by its file."""
    for path in directory.glob("*.key"):
        if path.name in ("ca.key", "broker.key"):
            continue
        pem = path.read_bytes()
        key = load_pem_private_key(pem, password=None)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            raw = key.private_numbers().private_value.to_bytes(32, "big")
        else:
            raw = key.private_bytes_raw()
        yield from _forms(path.name, raw)
        _, first, second, *_ = pem.splitlines()
        # The first digits say only which kind of key it is, the last ones are its public half.
        yield f"{path.name} line 1", first[-24:]
        if not second.startswith(b"-"):
            yield f"{path.name} line 2", second[:24]
    for name in ("mqtt.pass", "status.token", "hook.token"):
        yield from _forms(name, (directory / name).read_bytes().strip())
    yield "mqtt.pass as basic", base64.b64encode(f"planted-user:{PASSWORD}".encode())


def _forms(name: str, raw: bytes) -> Iterator[tuple[str, bytes]]:
    yield name, raw
    yield f"{name} in hex", raw.hex().encode()
    yield f"{name} as base64", base64.b64encode(raw).rstrip(b"=")
    yield f"{name} as text", repr(raw).encode()


def files_of(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the site but those that are there to hold a secret."""
    for path in directory.rglob("*"):
        if path.suffix in (".key", ".pass", ".token") or not path.is_file():
            continue
        yield os.fspath(path.relative_to(directory)), path.read_bytes()


def found(texts: dict[str, bytes], secrets: dict[str, bytes]) -> list[tuple[str, str]]:
    return [
        (place, name)
        for place, content in texts.items()
        for name, secret in secrets.items()
        if secret in content
    ]
