"""Cron expressions of six fields, seconds first, as Kubeflow's controller reads them; and the same times in another time zone.

The controller reads every expression in one time zone of its own (its CRON_SCHEDULE_TIMEZONE, UTC unless set), and has none for a single schedule.
Its library is robfig/cron 1.2.0, whose rules these are (getRange in its parser.go, dayMatches and Next in its spec.go). CronSim reads the fields and finds the
days; what the two read differently is refused, or written here so that CronSim means the same by it:

- CronSim alone knows 7 for Sunday, `L`, `LW` and `#`: refused, since the server would refuse them.
- robfig alone knows `@daily` and `@every 1h`, and takes five fields for an expression that begins with seconds and has no day of the week: refused, since a
  schedule that meant minutes first would run every hour.
- The day of the month and the day of the week must both match where an item of one of them is `*`, `?` or a step of these; otherwise one of them is enough.
  robfig asks every item of the list, CronSim the first one: such items go first.
- `4/2` goes on to the field's last value, which for CronSim is the other Sunday, 7; and `4-4/2` is 4 alone, and not `4/2` as for CronSim.
- robfig looks for the next time in this year and the next five, and answers a time long ago where there is none: what may come later (the first of January on a
  Monday) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from asdfd.base.errors import InputError

if TYPE_CHECKING:
    from cronsim import CronSim

FIELDS = (
    "a second, which is 0 to 59",
    "a minute, which is 0 to 59",
    "an hour, which is 0 to 23",
    "a day of the month, which is 1 to 31",
    "a month, which is 1 to 12",
    "a day of the week, which is 0 to 6",
)
ITEM = re.compile(r"(?:[*?]|(?P<low>[0-9]{1,2}|[A-Za-z]{3})(?:-(?P<high>[0-9]{1,2}|[A-Za-z]{3}))?)(?:/(?P<step>[0-9]{1,4}))?")
"""What the controller may find between the commas of a field; CronSim knows which names and numbers the field has."""
WEEKDAY = len(FIELDS) - 1
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
NUMBERS = {name: str(number) for names, first in ((DAYS, 0), (MONTHS, 1)) for number, name in enumerate(names, first)}
DAY = 24 * 60
START = datetime(2024, 1, 1, tzinfo=UTC)
CALENDAR_YEARS = 28
"""After so many each date falls on the same weekday again (a year like 2100 is far away)."""
SEARCHED_YEARS = 5
YEARS = timedelta(days=4 * 366)
"""All that comes again, but for what falls on the same weekday of a leap year."""


def parse(expression: str) -> CronSim:
    """The times of an expression, from the first one of 2024 on.

    Raises:
        ValueError: it is none; the message says which part.
        InputError: the extra is not installed.
    """
    try:
        from cronsim import CronSim, CronSimError
    except ModuleNotFoundError:
        raise InputError("schedules need the extra `kubeflow`: pip install 'asdfd[kubeflow]'") from None
    parts = expression.split()
    if len(parts) != len(FIELDS):
        raise ValueError(f"{expression!r} is not six fields, seconds first; write '0 0 2 * * *' for every day at two")
    read = []
    for number, part in enumerate(parts):
        alone = ["*"] * len(FIELDS)
        alone[number] = field = _for_cronsim(part, number)
        try:
            CronSim(" ".join(alone), START)
        except CronSimError:
            raise ValueError(f"{part!r} is not {FIELDS[number]}, or a list, a range or a step of these") from None
        read.append(field)
    try:
        cron = CronSim(" ".join(read), START - timedelta(seconds=1))
    except CronSimError:
        raise ValueError(f"{expression!r} names a day that its months do not have") from None
    if not _comes_soon(" ".join(["0", "0", "0", *read[3:]])):
        raise ValueError(f"{expression!r} may not come for more than {SEARCHED_YEARS} years, and the server looks no further for its next time")
    return cron


@cache
def _comes_soon(midnights: str) -> bool:
    """Whether an expression of days always comes again in as many years as the controller searches."""
    from cronsim import CronSim

    for year in range(START.year, START.year + CALENDAR_YEARS):
        found = next(CronSim(midnights, datetime(year, 1, 1, tzinfo=UTC) - timedelta(seconds=1)), None)
        if found is None or found.year > year + SEARCHED_YEARS - 1:  # after a time in the year before
            return False
    return True


def _for_cronsim(part: str, number: int) -> str:
    """A field, written so that CronSim means by it what the controller means; `-`, which is not a field, where the controller would refuse it."""
    items = []
    for item in part.split(","):
        found = ITEM.fullmatch(item)
        if found is None or (found["step"] or "1").strip("0") == "":
            return "-"
        low, high = (_plain(found[name]) for name in ("low", "high"))
        if number == WEEKDAY and "7" in (low, high):
            return "-"
        if low and low == high:
            items.append(found["low"])  # with its name: CronSim knows whether the field has it
        elif number == WEEKDAY and low and found["step"] and not high:
            items.append(found["low"] if low == "6" else f"{found['low']}-6/{found['step']}")
        else:
            items.append(item.replace("?", "*"))
    return ",".join(sorted(items, key=lambda item: not item.startswith("*")))


def _plain(value: str | None) -> str:
    """A value of a field as a number without leading zeros; empty where there is none."""
    text = (value or "").lower()
    return NUMBERS.get(text) or text.lstrip("0") or text[-1:]


def longest_pause(expression: str) -> float:
    """Longest time between two of an expression's times, in seconds, of any four years.

    Raises:
        ValueError: it is not an expression.
    """
    minutes = sorted(_minutes(parse(expression)))
    midnights = parse(" ".join(["0", "0", "0", *expression.split()[3:]]))
    days = [(midnight - START).days for midnight in takewhile(lambda midnight: midnight < START + YEARS, midnights)]
    moments = [day * DAY + minute for day in days for minute in minutes]
    return 60.0 * max((later - earlier for earlier, later in pairwise(moments)), default=YEARS.days * DAY)


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
        raise ValueError(f"{name!r} is not a time zone; write it as UTC or Europe/Berlin") from None


def rewritten(expression: str, from_zone: str, to_zone: str, moment: datetime) -> str:
    """The expression that means in `to_zone` what the given one means in `from_zone`, with the clocks as they are at `moment`.

    It is another one when one of the two changes to or from daylight saving time.

    Raises:
        ValueError: no expression, no zone, or times that no single expression has in the other zone.
    """
    cron, parts = parse(expression), expression.split()
    second, minute, hour, day, month, weekday = parts
    shift = _offset(to_zone, moment) - _offset(from_zone, moment)
    every_day = all(_is_any(part) for part in (day, month, weekday))
    if shift == 0 or (every_day and _is_any(hour) and shift % 60 == 0):
        return " ".join(parts)
    refused = ValueError(
        f"the times of {expression!r} in {from_zone} cannot be written as one cron expression in {to_zone}, where the server reads it; write them in {to_zone}"
    )
    times = [time + shift for time in _minutes(cron)]
    minutes, hours = {time % 60 for time in times}, {time % DAY // 60 for time in times}
    if len(minutes) * len(hours) != len(times):
        raise refused
    moved = {time // DAY for time in times}  # by so many days
    if not every_day and (len(moved) > 1 or (moved != {0} and not (_is_any(day) and _is_any(month)))):
        raise refused
    if not _is_any(weekday) and not (moved == {0} and set(weekday) & set("*?")):  # a list has no star, and with a day of the month one would be enough
        weekday = _listed((number + min(moved)) % 7 for number in cron.weekdays if isinstance(number, int))
    minute, hour = minute if _is_any(minute) else _listed(minutes), hour if _is_any(hour) else _listed(hours)
    return " ".join((second, minute, hour, day, month, weekday))


def _minutes(cron: CronSim) -> list[int]:
    """The minutes of a day at which there is a time."""
    return [hour * 60 + minute for hour in cron.hours for minute in cron.minutes]


def _is_any(part: str) -> bool:
    return part in ("*", "?")


def _listed(values: Iterable[int]) -> str:
    return ",".join(map(str, sorted(set(values))))


def _offset(name: str, moment: datetime) -> int:
    """Minutes by which a zone is ahead of UTC at a moment."""
    offset = moment.astimezone(zone(name)).utcoffset()
    assert offset is not None  # an aware time has one
    return round(offset.total_seconds() / 60)
