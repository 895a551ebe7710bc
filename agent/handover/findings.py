"""What a check finds: faults pinned to a record or a file, and remarks. Part of the verifier."""

from dataclasses import dataclass, field

FAULTS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What does not hold. ``index`` is the record it is pinned to, None: a file or the whole."""

    index: int | None
    words: str


@dataclass(slots=True)
class Findings:
    """Collected while a bundle is checked."""

    faults: list[Fault] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, index: int | None, words: str) -> None:
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(Fault(index=index, words=words[0].upper() + words[1:] + "."))

    def remark(self, sentence: str) -> None:
        self.remarks.append(sentence)

    @property
    def is_any_record_faulty(self) -> bool:
        return any(fault.index is not None for fault in self.faults)
