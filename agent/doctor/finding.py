"""What an examination found: one thing that was looked at, how it is, and what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """How one thing is: a site runs with warnings, and not or not well with what has failed."""

    FINE = "fine"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. ``remedy`` is empty where there is nothing to do."""

    check: str
    subject: str
    grade: Grade
    words: str
    remedy: str = ""


def fine(check: str, subject: str, words: str) -> Finding:
    """All is well."""
    return Finding(check=check, subject=subject, grade=Grade.FINE, words=words)


def warning(check: str, subject: str, words: str, remedy: str) -> Finding:
    """It works, and will not for long or not in every case."""
    return Finding(check=check, subject=subject, grade=Grade.WARNING, words=words, remedy=remedy)


def failed(check: str, subject: str, words: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(check=check, subject=subject, grade=Grade.FAILED, words=words, remedy=remedy)
