"""The alarms that stand: raised once, cleared once, with a pause on both sides.

What comes and goes within a tick or two is the life of a network, and an alarm that is raised and
cleared every few seconds is read by nobody. What is critical waits for nothing before it stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.alarms import Condition, Key
from agent.records import NewRecord
from agent.settings_alarms import AlarmSettings
from agent.status.view import AlarmView
from agent.testimony import alarm_record


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmChange:
    """An alarm was raised, or cleared."""

    is_raised: bool
    alarm: AlarmView

    @property
    def record(self) -> NewRecord:
        """For the journal, by which it is published too."""
        return alarm_record(
            self.alarm.code,
            self.alarm.source,
            meter_point=self.alarm.meter_point,
            is_raised=self.is_raised,
            words=self.alarm.words,
        )


@dataclass(slots=True, kw_only=True)
class _Trouble:
    """One condition from its first sign until it has been gone for long enough."""

    first_s: float
    first_ms: int
    last_s: float
    standing: AlarmView | None = None


class AlarmBoard:
    """Follows the conditions of every tick. ``settings`` say how long each pause is."""

    def __init__(self, settings: AlarmSettings) -> None:
        self._raise_after_s = settings.raise_after_s
        self._clear_after_s = settings.clear_after_s
        self._troubles: dict[Key, _Trouble] = {}
        self._counts: dict[Key, int] = {}

    @property
    def alarms(self) -> list[AlarmView]:
        """Critical ones first, then the oldest."""
        standing = [one.standing for one in self._troubles.values() if one.standing is not None]
        return sorted(standing, key=lambda a: (a.severity != "critical", a.first_seen_ms))

    def update(
        self, now: Mapping[Key, Condition], *, now_ms: int, now_s: float
    ) -> list[AlarmChange]:
        """Compare with what is wrong now; ``now_s`` is monotonic."""
        changes = []
        for key, trouble in list(self._troubles.items()):
            if key not in now and now_s - trouble.last_s >= self._clear_after_s:
                del self._troubles[key]
                if trouble.standing is not None:
                    changes.append(AlarmChange(is_raised=False, alarm=trouble.standing))
        for key, condition in now.items():
            fresh = _Trouble(first_s=now_s, first_ms=now_ms, last_s=now_s)
            trouble = self._troubles.setdefault(key, fresh)
            trouble.last_s = now_s
            changes += self._stand(key, trouble, condition, now_s)
        return changes

    def _stand(
        self, key: Key, trouble: _Trouble, condition: Condition, now_s: float
    ) -> list[AlarmChange]:
        is_new = trouble.standing is None
        has_lasted = now_s - trouble.first_s >= self._raise_after_s
        if is_new and not has_lasted and condition.severity != "critical":
            return []
        if is_new:
            self._counts[key] = self._counts.get(key, 0) + 1
        trouble.standing = AlarmView(
            code=condition.code,
            severity=condition.severity,
            source=condition.source,
            words=condition.words,
            remedy=condition.remedy,
            first_seen_ms=trouble.first_ms,
            count=self._counts[key],
            meter_point=condition.meter_point,
        )
        return [AlarmChange(is_raised=True, alarm=trouble.standing)] if is_new else []
