"""Whether the daemon may write its journal, asked by root, who may everything."""

import os
import shutil
from pathlib import Path

import pytest

from agent.doctor.files import journal_folder
from agent.doctor.finding import Grade

SERVICE = "nobody"  # a user that every machine has and that owns nothing

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def journal(tmp_path) -> Path:
    folder = tmp_path / "kwota"
    folder.mkdir(mode=0o700)
    return folder / "journal.sqlite"


def test_a_folder_of_roots_is_not_the_services(journal: Path) -> None:
    found = journal_folder(journal, SERVICE)
    assert found.grade is Grade.FAILED
    assert found.words == "nothing can be written into it by nobody"
    assert found.remedy.endswith(f"chown nobody {journal.parent}")
    shutil.chown(journal.parent, SERVICE)
    assert journal_folder(journal, SERVICE).words == "can be written by nobody"
    journal.parent.chmod(0o500)
    assert journal_folder(journal, SERVICE).grade is Grade.FAILED


def test_a_journal_of_roots_in_the_services_folder_is_named(journal: Path) -> None:
    shutil.chown(journal.parent, SERVICE)
    journal.touch(mode=0o640)
    found = journal_folder(journal, SERVICE)
    assert (found.grade, found.remedy) == (Grade.FAILED, f"chown nobody {journal}")
    shutil.chown(journal, SERVICE)
    assert journal_folder(journal, SERVICE).grade is Grade.FINE


def test_what_the_group_or_everybody_may_counts_as_well(journal: Path) -> None:
    shutil.chown(journal.parent, group="nogroup")
    journal.parent.chmod(0o770)
    assert journal_folder(journal, SERVICE).grade is Grade.FINE
    shutil.chown(journal.parent, group="root")
    assert journal_folder(journal, SERVICE).grade is Grade.FAILED
    journal.parent.chmod(0o703)
    assert journal_folder(journal, SERVICE).grade is Grade.FINE


def test_without_such_a_user_or_where_it_is_root_nobody_is_named(journal: Path) -> None:
    assert journal_folder(journal, "no-such-user-here").words == "can be written"
    assert journal_folder(journal, "root").grade is Grade.FINE
