"""docs/keys.md is run as it stands, as far as this machine has what it needs."""

import ctypes.util
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from ports import free_port

from agent.commands.enroll import enroll_device
from agent.core.note import VerifierKey
from agent.keys import load_log_key
from agent.settings import load_settings
from agent.tlskeys import load_tls_key

REPO = Path(__file__).parents[2]
DOC = REPO / "docs" / "keys.md"
COMMANDS = "\n".join(re.findall(r"^```sh\n(.*?)^```$", DOC.read_text(), re.MULTILINE | re.DOTALL))


class NotOpenedError(Exception):
    """A sealed key stays closed, for the reason that systemd-creds gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An enrolled agent, whose keys are not yet sealed."""

    directory: Path
    config: Path
    vkey: VerifierKey

    def seal(self, how: str) -> None:
        """The page's own commands, with the keys in this folder."""
        commands = COMMANDS.replace("/etc/kwota", str(self.directory))
        assert "--with-key=host " in commands
        commands = commands.replace("--with-key=host ", f"{how} ")
        done = subprocess.run(
            ["bash", "-euc", commands], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert not (self.directory / "log.key").exists()
        assert b"PRIVATE" not in self.sealed("log.key").read_bytes()

    def sealed(self, name: str) -> Path:
        return self.directory / f"{name}.cred"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    if shutil.which("systemd-creds") is None:
        pytest.skip("systemd-creds is not installed: sealing the keys is not tested")
    config = tmp_path / "site.toml"
    config.write_text((REPO / "config" / "site.example.toml").read_text())
    enroll_device(config=config, is_qr=False)
    settings = load_settings(config)
    vkey = load_log_key(settings.journal.key_file, settings.origin).verifier
    # The host's own secret lies outside of what a test may write.
    monkeypatch.setenv("SYSTEMD_CREDENTIAL_SECRET", str(tmp_path / "credential.secret"))
    return Site(directory=tmp_path, config=config, vkey=vkey)


def test_sealed_keys_are_handed_over_as_credentials(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.seal("--with-key=host")
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    for name in ("log.key", "edge.key"):
        unseal(site.sealed(name), name, credentials / name)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    served = load_settings(site.config)
    assert served.journal.key_file == credentials / "log.key"
    assert load_log_key(served.journal.key_file, served.origin).verifier == site.vkey
    assert served.mqtt is not None
    assert served.mqtt.tls_key_file == credentials / "edge.key"
    load_tls_key(credentials / "edge.key")
    with pytest.raises(NotOpenedError):  # sealed under one name, not any
        unseal(site.sealed("edge.key"), "log.key", credentials / "other")


def test_keys_that_are_sealed_to_a_tpm_open_with_that_one_and_this_host_only(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed, key = site.sealed("log.key"), tmp_path / "opened"
    with tpm(tmp_path / "own") as own:
        monkeypatch.setenv("SYSTEMD_TPM2_DEVICE", own)
        site.seal("--with-key=host+tpm2")
    with pytest.raises(NotOpenedError, match="Failed to initialize TCTI"):
        unseal(sealed, "log.key", key)
    with tpm(tmp_path / "other") as other:
        monkeypatch.setenv("SYSTEMD_TPM2_DEVICE", other)
        with pytest.raises(NotOpenedError, match="integrity check failed"):
            unseal(sealed, "log.key", key)
    with tpm(tmp_path / "own") as own:  # after a restart of the machine
        monkeypatch.setenv("SYSTEMD_TPM2_DEVICE", own)
        unseal(sealed, "log.key", key)
        origin = load_settings(site.config).origin
        assert load_log_key(key, origin).verifier == site.vkey
        monkeypatch.setenv("SYSTEMD_CREDENTIAL_SECRET", str(tmp_path / "of-another-host"))
        with pytest.raises(NotOpenedError):
            unseal(sealed, "log.key", tmp_path / "elsewhere")


@contextmanager
def tpm(state: Path) -> Iterator[str]:
    """A TPM 2.0 in software; yields what systemd-creds calls it. Its second port is the next.

    It has room for a few sessions and no kernel before it that ends those of a program that has
    ended, so it does not last for many keys; its state does.
    """
    swtpm = shutil.which("swtpm")
    if swtpm is None or not has_tpm_libraries():
        pytest.skip("no swtpm or no TPM libraries: sealing the keys to a TPM is NOT tested")
    state.mkdir(exist_ok=True)
    port = free_port(in_a_row=2)
    flags = ["--flags", "not-need-init,startup-clear", "--tpmstate", f"dir={state}"]
    doors = [f"type=tcp,bindaddr=127.0.0.1,port={one}" for one in (port, port + 1)]
    words = [swtpm, "socket", "--tpm2", "--server", doors[0], "--ctrl", doors[1], *flags]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_s = time.monotonic() + 15.0
        while not listens(port + 1):
            assert process.poll() is None, "swtpm has ended"
            assert time.monotonic() < until_s, "swtpm does not listen"
            time.sleep(0.02)
        yield f"swtpm:host=127.0.0.1,port={port}"
    finally:
        process.kill()
        process.wait()


def has_tpm_libraries() -> bool:
    """Whether systemd-creds was built for a TPM and finds the libraries: ``+`` where it does."""
    words = ["systemd-creds", "has-tpm2"]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return "+system" in said and ctypes.util.find_library("tss2-esys") is not None


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def unseal(sealed: Path, name: str, target: Path) -> None:
    """As the service manager does it: under its name, and for nobody to write."""
    command = ["systemd-creds", "decrypt", f"--name={name}", str(sealed), str(target)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotOpenedError(done.stderr)
    target.chmod(0o400)
