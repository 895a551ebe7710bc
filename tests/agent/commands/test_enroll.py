"""`kwota enroll`: keys are made once, nothing secret is shown, and only what fits is installed."""

import asyncio
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import segno

from agent.broker import Broker, Credentials, Session
from agent.commands.qr import QUIET_MODULES, qr_lines
from agent.core.note import parse_vkey
from agent.journal import open_journal
from agent.keys import load_log_keys
from agent.mqtt import connect
from agent.settings import load_settings
from agent.siteclock import SiteClock
from agent.store import JournalSettings
from agent.tlskeys import CertificateError, checked_certificate, load_tls_key

EXAMPLE = Path(__file__).resolve().parents[3] / "config" / "site.example.toml"
DEVICE = "ekibastuz-1-edge-1"
SIGNED = "extendedKeyUsage=clientAuth\nsubjectAltName=URI:kwota:ekibastuz-1/edge-1"


def openssl(*words: str | Path) -> str:
    command = ["openssl", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Authority:
    """A pool's authority that signs with plain openssl."""

    def __init__(self, directory: Path, name: str = "pool-ca") -> None:
        self.certificate, self.key = directory / f"{name}.pem", directory / f"{name}.key"
        subject = ("-subj", f"/CN={name}", "-days", "30", "-nodes", "-newkey", "ec")
        curve = ("-pkeyopt", "ec_paramgen_curve:P-256")
        out = ("-keyout", self.key, "-out", self.certificate)
        openssl("req", "-x509", *subject, *curve, *out)

    def sign(self, csr: Path, out: Path, extensions: str = SIGNED) -> Path:
        ext = out.with_suffix(".ext")
        ext.write_text(extensions + "\n")
        signer = ("-CA", self.certificate, "-CAkey", self.key, "-extfile", ext)
        openssl("x509", "-req", "-in", csr, "-out", out, "-days", "7", *signer)
        return out


@pytest.fixture
def config(tmp_path: Path) -> Path:
    config = tmp_path / "site.toml"
    config.write_text(EXAMPLE.read_text())
    return config


@pytest.fixture
def pool(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def enroll(terminal, config: Path) -> Callable:
    return lambda *words: terminal.run("enroll", "--config", str(config), *map(str, words))


def test_the_keys_are_made_and_only_their_public_halves_are_shown(enroll, tmp_path: Path) -> None:
    shown = enroll()
    assert shown.code == 0
    assert shown.out.startswith("pool.example/edge/ekibastuz-1-edge-1/1+")
    assert shown.out.count("\n") == 1  # no QR code where no terminal is
    assert f"device      {DEVICE}\n" in shown.err
    assert "\x1b" not in shown.out + shown.err
    for name in ("log.key", "edge.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        secret = (tmp_path / name).read_text()
        assert all(line not in shown.out + shown.err for line in secret.splitlines())
    assert "PRIVATE" not in (tmp_path / "edge.csr").read_text()


def test_a_second_run_changes_nothing_and_says_so(enroll, tmp_path: Path) -> None:
    first = enroll("--json")
    files = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    times = {path: path.stat().st_mtime_ns for path in files}
    second, third = enroll(), enroll("--json")
    assert (second.code, second.err.count("is there already and is kept")) == (0, 3)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == files
    assert {path: path.stat().st_mtime_ns for path in files} == times
    before, after = json.loads(first.out), json.loads(third.out)
    assert (before["is_new"], before["tls"]["is_new_key"], before["tls"]["is_new"]) == (True,) * 3
    assert (after["is_new"], after["tls"]["is_new_key"], after["tls"]["is_new"]) == (False,) * 3
    assert [before[name] for name in ("device", "vkey", "fingerprint")] == [
        after[name] for name in ("device", "vkey", "fingerprint")
    ]


def test_openssl_reads_the_request_and_finds_the_device_in_it(enroll, tmp_path: Path) -> None:
    assert enroll("--csr", tmp_path / "for-the-pool.csr").code == 0
    text = openssl("req", "-in", tmp_path / "for-the-pool.csr", "-noout", "-text", "-verify")
    assert DEVICE in text
    assert "URI:kwota:ekibastuz-1/edge-1" in text
    assert "prime256v1" in text


def test_a_request_that_is_another_ones_is_not_overwritten(enroll, tmp_path: Path) -> None:
    (tmp_path / "edge.csr").write_text("somebody else's")
    shown = enroll()
    assert (shown.code, shown.err.count("\n")) == (2, 1)
    assert "--csr" in shown.err
    assert (tmp_path / "edge.csr").read_text() == "somebody else's"


@pytest.mark.parametrize("name", ["log.key", "edge.key"])
def test_a_key_that_others_can_read_is_refused_with_the_way_out(
    enroll, tmp_path: Path, name: str
) -> None:
    enroll()
    (tmp_path / name).chmod(0o644)
    shown = enroll()
    assert (shown.code, shown.out, shown.err.count("\n")) == (2, "", 1)
    assert "chmod 600" in shown.err


def test_a_qr_code_is_shown_when_asked_for_and_says_the_same(enroll, tmp_path: Path) -> None:
    shown = enroll("--qr")
    vkey, *drawn = shown.out.splitlines()
    fingerprint = shown.err.split("\nfingerprint ")[1].split("\n")[0]
    symbol = segno.make_qr(f"{DEVICE}\n{vkey}\n{fingerprint}", error="m")
    wanted = [list(row) for row in symbol.matrix_iter(border=QUIET_MODULES)]
    halves = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
    rows = [[halves[char][half] for char in line] for line in drawn for half in (0, 1)]
    assert rows[: len(wanted)] == wanted
    assert len(drawn[0]) <= 80  # fits a terminal


def test_on_a_terminal_the_code_is_black_on_white() -> None:
    lines = qr_lines("kwota", is_coloured=True)
    assert all(line.startswith("\x1b[30;107m") and line.endswith("\x1b[0m") for line in lines)
    assert not any("\x1b" in line for line in qr_lines("kwota", is_coloured=False))


def test_the_pools_certificate_is_checked_and_put_in_place(
    enroll, pool: Authority, tmp_path: Path
) -> None:
    enroll()
    signed = pool.sign(tmp_path / "edge.csr", tmp_path / "signed.pem")
    first, second = enroll("--certificate", signed), enroll("--certificate", signed, "--json")
    assert first.code == second.code == 0
    assert "valid until" in first.err
    assert json.loads(second.out)["is_new"] is False
    installed = tmp_path / "edge.pem"
    assert installed.read_bytes() == signed.read_bytes()
    assert stat.S_IMODE(installed.stat().st_mode) == 0o644
    renewed = pool.sign(tmp_path / "edge.csr", tmp_path / "renewed.pem")
    assert enroll("--certificate", renewed).code == 0
    assert installed.read_bytes() == renewed.read_bytes()
    assert not list(tmp_path.glob(".edge.pem*"))


def test_a_certificate_that_does_not_fit_is_refused_and_the_old_one_stays(
    enroll, pool: Authority, tmp_path: Path
) -> None:
    enroll()
    csr, installed = tmp_path / "edge.csr", tmp_path / "edge.pem"
    installed.write_text("the one before")
    stranger = Authority(tmp_path, "stranger")
    other_csr, other_key = tmp_path / "other.csr", tmp_path / "other.key"
    openssl("req", "-new", "-nodes", "-subj", "/CN=x", "-keyout", other_key, "-out", other_csr)
    for words, given in (
        ("another key", pool.sign(other_csr, tmp_path / "1.pem")),
        ("pool-ca|stranger", stranger.sign(csr, tmp_path / "2.pem")),
        (
            "clientAuth",
            pool.sign(csr, tmp_path / "5.pem", extensions="extendedKeyUsage=serverAuth"),
        ),
        ("no PEM certificate", csr),
        ("cannot be read", tmp_path / "nowhere"),
    ):
        shown = enroll("--certificate", given)
        assert (shown.code, shown.out, shown.err.count("\n")) == (2, "", 1), shown.err
        assert any(word in shown.err for word in words.split("|")), shown.err
        assert installed.read_text() == "the one before"


def test_a_certificate_counts_only_while_it_is_valid(
    enroll, pool: Authority, tmp_path: Path
) -> None:
    enroll()
    signed = pool.sign(tmp_path / "edge.csr", tmp_path / "signed.pem").read_bytes()
    key, authorities = load_tls_key(tmp_path / "edge.key"), pool.certificate.read_bytes()
    now = datetime.now(UTC)
    checked_certificate(signed, key=key, authorities=authorities, now=now)
    for days, words in ((-1, "valid only from"), (8, "has expired on")):
        with pytest.raises(CertificateError, match=words):
            checked_certificate(
                signed, key=key, authorities=authorities, now=now + timedelta(days=days)
            )


def test_a_certificate_through_an_authority_between_leads_to_the_pools(
    enroll, pool: Authority, tmp_path: Path
) -> None:
    enroll()
    between = Authority(tmp_path, "between")
    openssl("req", "-new", "-key", between.key, "-subj", "/CN=between", "-out", tmp_path / "b.csr")
    own = between.certificate
    pool.sign(tmp_path / "b.csr", own, extensions="basicConstraints=critical,CA:true")
    signed = between.sign(tmp_path / "edge.csr", tmp_path / "signed.pem")
    alone = enroll("--certificate", signed)
    assert alone.code == 2
    assert "add what stands between" in alone.err
    signed.write_bytes(signed.read_bytes() + own.read_bytes())
    assert enroll("--certificate", signed).code == 0


def test_a_site_without_tls_gets_its_log_key_alone(enroll, config: Path) -> None:
    lines = config.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(("cert_file", "tls_key_file", "ca_file"))]
    config.write_text("".join(kept))
    assert json.loads(enroll("--json").out)["tls"] is None
    assert "No TLS key is asked for" in enroll().err
    assert enroll("--csr", config.parent / "x.csr").code == 2
    assert enroll("--certificate", config.parent / "x.pem").code == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_tls_key_of_another_user_is_refused(enroll, tmp_path: Path) -> None:
    enroll()
    os.chown(tmp_path / "edge.key", 12345, -1)
    shown = enroll()
    assert (shown.code, shown.err.count("\n")) == (2, 1)
    assert "chown" in shown.err


async def test_a_broker_that_asks_for_certificates_takes_what_was_enrolled(
    enroll, mosquitto, pool: Authority, tmp_path: Path
) -> None:
    enroll()
    enroll("--certificate", pool.sign(tmp_path / "edge.csr", tmp_path / "signed.pem"))
    openssl(
        *("req", "-new", "-nodes", "-subj", "/CN=localhost", "-newkey", "rsa:2048"),
        *("-keyout", tmp_path / "broker.key", "-out", tmp_path / "broker.csr"),
    )
    names = "subjectAltName=IP:127.0.0.1"
    pool.sign(tmp_path / "broker.csr", tmp_path / "broker.pem", extensions=names)
    lines = (
        "allow_anonymous true",
        "require_certificate true",
        f"cafile {pool.certificate}",
        f"certfile {tmp_path / 'broker.pem'}",
        f"keyfile {tmp_path / 'broker.key'}",
    )
    async with mosquitto(*lines) as broker:
        session = Session(
            broker=Broker(host="127.0.0.1", port=broker.port, is_tls=True),
            client_id="enrolled",
            version="5",
            credentials=Credentials(
                ca_file=pool.certificate,
                cert_file=tmp_path / "edge.pem",
                key_file=tmp_path / "edge.key",
            ),
        )
        async with connect(session) as connection:
            await connection.subscribe("kwota/v1/farm/edge/receipt")


def test_openssl_is_here() -> None:
    assert shutil.which("openssl"), "the tests of certificates need openssl"


async def run_daemon(config: Path, size: int = 0) -> None:
    """What the daemon does at a start and a stop: its log, with whichever keys lie there.

    ``size``: how many records the pool has cosigned meanwhile.
    """
    settings = load_settings(config)
    key = load_log_keys(settings.journal.key_file, settings.origin)
    options = JournalSettings(path=settings.journal.path, max_bytes=10_000_000, version="0")
    async with open_journal(options, key, SiteClock()) as journal:
        if size:
            await journal.set_cosigned(size, "")


@pytest.fixture
def site(config: Path, tmp_path: Path) -> Path:
    """A configuration whose journal and socket lie beside it."""
    text = config.read_text().replace("/var/lib/kwota/", "").replace("/run/kwota/", "")
    config.write_text(text)
    return tmp_path


def test_the_logs_key_is_changed_in_two_steps_and_the_log_is_sound_throughout(
    enroll, site: Path, config: Path, terminal
) -> None:
    first = json.loads(enroll("--json").out)["vkey"]
    asyncio.run(run_daemon(config))
    made, again = enroll("--rotate"), enroll("--rotate", "--json")
    assert made.code == again.code == 0
    second = json.loads(again.out)["vkey"]
    assert json.loads(again.out)["is_new"] is False
    assert made.out == f"{second}\n"
    assert stat.S_IMODE((site / "log.next.key").stat().st_mode) == 0o600
    old_key = (site / "log.key").read_bytes()
    early = enroll("--retire")
    assert (early.code, early.err.count("\n")) == (2, 1)
    assert "restart the daemon first" in early.err
    asyncio.run(run_daemon(config))
    early = enroll("--retire")
    assert early.code == 2
    assert "wait until it has" in early.err
    asyncio.run(run_daemon(config, size=4))
    done = enroll("--retire", "--json")
    assert done.code == 0
    key_id = parse_vkey(first).key_id.hex()
    assert json.loads(done.out)["aside"] == str(site / f"log.retired-{key_id}.key")
    assert (site / f"log.retired-{key_id}.key").read_bytes() == old_key
    assert (site / "log.vkey").read_text() == f"{first}\n{second}\n"
    assert not (site / "log.next.key").exists()
    assert not (site / "log.next.vkey").exists()
    assert stat.S_IMODE((site / "log.key").stat().st_mode) == 0o600
    asyncio.run(run_daemon(config))
    assert enroll().code == 0
    journal, vkey = str(site / "journal.sqlite"), str(site / "log.vkey")
    assert terminal.run("verify", journal, "--key", vkey).code == 0
    span = ("--from", "2020-01-01T00:00+05:00", "--to", "2090-01-01T00:00+05:00")
    bundle = str(site / "bundle.zip")
    words = ("evidence", "export", bundle, "--journal", journal, "--key", vkey, *span)
    exported = terminal.run(*words)
    assert exported.code == 0, exported.err
    assert terminal.run("verify", bundle, "--key", vkey).code == 0
    assert enroll("--retire").code == 2


def test_only_one_step_at_a_time(enroll) -> None:
    assert enroll("--rotate", "--retire").code == 2
    assert enroll("--rotate").code == 2  # there is no key yet that another could follow on
