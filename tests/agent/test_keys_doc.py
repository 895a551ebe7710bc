"""docs/keys.md is run as it stands, as far as this machine has what it needs."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.commands.enroll import enroll_device
from agent.keys import load_log_key
from agent.settings import load_settings
from agent.tlskeys import load_tls_key

REPO = Path(__file__).parents[2]
DOC = REPO / "docs" / "keys.md"
COMMANDS = "\n".join(re.findall(r"^```sh\n(.*?)^```$", DOC.read_text(), re.MULTILINE | re.DOTALL))


def test_sealed_keys_are_handed_over_as_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("systemd-creds") is None:
        pytest.skip("systemd-creds is not installed: sealing the keys is not tested")
    config = tmp_path / "site.toml"
    config.write_text((REPO / "config" / "site.example.toml").read_text())
    enroll_device(config=config, is_qr=False)
    settings = load_settings(config)
    vkey = load_log_key(settings.journal.key_file, settings.origin).verifier
    # The host's own secret lies outside of what a test may write.
    monkeypatch.setenv("SYSTEMD_CREDENTIAL_SECRET", str(tmp_path / "credential.secret"))
    commands = COMMANDS.replace("/etc/kwota", str(tmp_path))
    done = subprocess.run(["bash", "-euc", commands], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "log.key").exists()
    assert b"PRIVATE" not in (tmp_path / "log.key.cred").read_bytes()

    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    for name in ("log.key", "edge.key"):
        unseal(tmp_path / f"{name}.cred", name, credentials / name)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    served = load_settings(config)
    assert served.journal.key_file == credentials / "log.key"
    assert load_log_key(served.journal.key_file, served.origin).verifier == vkey
    assert served.mqtt is not None
    assert served.mqtt.tls_key_file == credentials / "edge.key"
    load_tls_key(credentials / "edge.key")
    with pytest.raises(subprocess.CalledProcessError):  # sealed under one name, not any
        unseal(tmp_path / "edge.key.cred", "log.key", credentials / "other")


def unseal(sealed: Path, name: str, target: Path) -> None:
    """As the service manager does it: under its name, and for nobody to write."""
    command = ["systemd-creds", "decrypt", f"--name={name}", str(sealed), str(target)]
    subprocess.run(command, check=True, capture_output=True, env=dict(os.environ))
    target.chmod(0o400)
