"""Cron expressions of six fields, seconds first, as Kubeflow's controller reads them; and the same times in another time zone.

The controller reads every expression in one time zone of its own (its CRON_SCHEDULE_TIMEZONE, UTC unless set), and has none for a single schedule.
Source: robfig/cron v1, which it uses: lists, ranges, steps, names of months and days, `?` for `*`; a day must match both day fields or, where neither of them
is `*`, either one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
DAY = 24 * 60


@dataclass(frozen=True)
class Bounds:
    """One of the six fields."""

    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()


FIELDS = (
    Bounds("second", 0, 59),
    Bounds("minute", 0, 59),
    Bounds("hour", 0, 23),
    Bounds("day of month", 1, 31),
    Bounds("month", 1, 12, MONTHS),
    Bounds("day of week", 0, 6, DAYS),
)

Values = frozenset[int] | None
"""Values of a field; None is any, as `*`."""


@dataclass(frozen=True)
class Cron:
    """The times of an expression."""

    seconds: Values
    minutes: Values
    hours: Values
    days: Values
    months: Values
    weekdays: Values

    def matches(self, moment: datetime) -> bool:
        """Whether a moment, in the expression's own zone, is one of its times."""
        parts = (self.seconds, moment.second), (self.minutes, moment.minute), (self.hours, moment.hour), (self.months, moment.month)
        if any(values is not None and part not in values for values, part in parts):
            return False
        day = self.days is None or moment.day in self.days
        weekday = self.weekdays is None or moment.isoweekday() % 7 in self.weekdays
        return day and weekday if self.days is None or self.weekdays is None else day or weekday

    def __str__(self) -> str:
        return " ".join("*" if values is None else ",".join(map(str, sorted(values))) for values in self._fields)

    @property
    def _fields(self) -> tuple[Values, ...]:
        return self.seconds, self.minutes, self.hours, self.days, self.months, self.weekdays


def parse(expression: str) -> Cron:
    """The times of an expression.

    Raises:
        ValueError: it is none; the message says which part.
    """
    parts = expression.split()
    if len(parts) != len(FIELDS):
        raise ValueError(f"{expression!r} has {len(parts)} fields, six are needed, seconds first: '0 0 2 * * *' is every day at two")
    return Cron(*(_values(part, bounds) for part, bounds in zip(parts, FIELDS, strict=True)))


def _values(text: str, bounds: Bounds) -> Values:
    """Values of one field."""
    if text in ("*", "?"):
        return None
    return frozenset(value for part in text.split(",") for value in _range(part, bounds))


def _range(text: str, bounds: Bounds) -> Iterable[int]:
    """Values of one part of a list: N, N-M, *, each perhaps with /STEP; N/STEP goes on to the end."""
    whole, slash, step = text.partition("/")
    low, dash, high = whole.partition("-")
    if slash and not (step.isascii() and step.isdigit() and int(step) > 0):
        raise ValueError(f"{text!r} of the {bounds.name} has no whole step")
    if whole in ("*", "?"):
        first, last = bounds.low, bounds.high
    else:
        first = _number(low, bounds)
        last = _number(high, bounds) if dash else bounds.high if slash else first
    if first > last:
        raise ValueError(f"{text!r} of the {bounds.name} begins after its end")
    return range(first, last + 1, int(step) if slash else 1)


def _number(text: str, bounds: Bounds) -> int:
    if text.lower() in bounds.words:
        return bounds.words.index(text.lower()) + bounds.low
    if not (text.isascii() and text.isdigit()) or not bounds.low <= int(text) <= bounds.high:
        raise ValueError(f"{text!r} is no {bounds.name}, which is {bounds.low} to {bounds.high}")
    return int(text)


def longest_pause(expression: str) -> float:
    """Longest time between two of an expression's times, in seconds, of any four years.

    Raises:
        ValueError: it is no expression.
    """
    cron = parse(expression)
    minutes = [hour * 60 + minute for hour in _all(cron.hours, 24) for minute in _all(cron.minutes, 60)]
    midnight = replace(cron, seconds=None, minutes=None, hours=None)
    first = datetime(2024, 1, 1, tzinfo=UTC)
    days = [day for day in range(4 * 366) if midnight.matches(first + timedelta(days=day))]
    moments = [day * DAY + minute for day in days for minute in sorted(minutes)]
    return 60.0 * max((later - earlier for earlier, later in pairwise(moments)), default=4 * 366 * DAY)


def zone(name: str) -> tzinfo:
    """The time zone of that name.

    Raises:
        ValueError: there is none.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone; write it as UTC or Europe/Berlin") from None


def rewritten(expression: str, from_zone: str, to_zone: str, moment: datetime) -> str:
    """The expression that means in `to_zone` what the given one means in `from_zone`, with the clocks as they are at `moment`.

    It is another one when one of the two changes to or from daylight saving time.

    Raises:
        ValueError: no expression, no zone, or times that no single expression has in the other zone.
    """
    cron = parse(expression)
    minutes = _offset(to_zone, moment) - _offset(from_zone, moment)
    if minutes == 0:
        return " ".join(expression.split())
    refused = ValueError(
        f"the times of {expression!r} in {from_zone} are no single cron expression in {to_zone}, where the server reads it; write them in {to_zone}"
    )
    whole_day = cron.hours is None and minutes % 60 == 0
    if whole_day and cron.days is None and cron.months is None and cron.weekdays is None:
        return " ".join(expression.split())
    times = [hour * 60 + minute + minutes for hour in _all(cron.hours, 24) for minute in _all(cron.minutes, 60)]
    new_minutes, new_hours = frozenset(time % 60 for time in times), frozenset(time % DAY // 60 for time in times)
    if len(new_minutes) * len(new_hours) != len(times):
        raise refused
    moved = {time // DAY for time in times}  # by so many days
    if cron.days is not None or cron.months is not None or cron.weekdays is not None:
        if len(moved) > 1 or (moved != {0} and (cron.days is not None or cron.months is not None)):
            raise refused
        if cron.weekdays is not None:
            (days,) = moved
            cron = replace(cron, weekdays=frozenset((day + days) % 7 for day in cron.weekdays))
    return str(replace(cron, minutes=cron.minutes and new_minutes, hours=cron.hours and new_hours))


def _offset(name: str, moment: datetime) -> int:
    """Minutes by which a zone is ahead of UTC at a moment."""
    offset = moment.astimezone(zone(name)).utcoffset()
    assert offset is not None  # an aware time has one
    return round(offset.total_seconds() / 60)


def _all(values: Values, count: int) -> Iterable[int]:
    return range(count) if values is None else values
