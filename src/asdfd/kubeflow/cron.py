"""Cron expressions of six fields, seconds first, as Kubeflow's controller reads them; and the same times in another time zone.

The controller reads every expression in one time zone of its own (its CRON_SCHEDULE_TIMEZONE, UTC unless set), and has none for a single schedule.
CronSim reads the fields and finds the days. It knows more than the controller's library, robfig/cron v1, does (five fields, 7 for Sunday, `L`, `#`): that is
refused here, since the server would refuse it. Both know lists, ranges, steps and names of months and days, and take a day that matches both day fields or,
where neither of them begins with `*`, either one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
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
KNOWN = re.compile(r"([0-9*?,/-]|[A-Za-z]{3})+")
"""What the controller may find in a field: no `L`, `LW` or `#`."""
SEVEN = re.compile(r"(?<![/0-9])7(?![0-9])")
"""Sunday elsewhere; a step may be 7."""
DAY = 24 * 60
START = datetime(2024, 1, 1, tzinfo=UTC)
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
        raise ValueError(f"{expression!r} has {len(parts)} fields, six are needed, seconds first: '0 0 2 * * *' is every day at two")
    for number, part in enumerate(parts):
        alone = ["*"] * len(FIELDS)
        alone[number] = part.replace("?", "*")
        try:
            if not KNOWN.fullmatch(part) or (number == len(FIELDS) - 1 and SEVEN.search(part)):
                raise CronSimError
            CronSim(" ".join(alone), START)
        except CronSimError:
            raise ValueError(f"{part!r} is not {FIELDS[number]}, or a list, a range or a step of these") from None
    try:
        return CronSim(" ".join(parts).replace("?", "*"), START - timedelta(seconds=1))
    except CronSimError:
        raise ValueError(f"{expression!r} names a day that its months do not have") from None


def longest_pause(expression: str) -> float:
    """Longest time between two of an expression's times, in seconds, of any four years.

    Raises:
        ValueError: it is no expression.
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
        f"the times of {expression!r} in {from_zone} are no single cron expression in {to_zone}, where the server reads it; write them in {to_zone}"
    )
    times = [time + shift for time in _minutes(cron)]
    minutes, hours = {time % 60 for time in times}, {time % DAY // 60 for time in times}
    if len(minutes) * len(hours) != len(times):
        raise refused
    moved = {time // DAY for time in times}  # by so many days
    if not every_day and (len(moved) > 1 or (moved != {0} and not (_is_any(day) and _is_any(month)))):
        raise refused
    if not every_day and not _is_any(weekday):
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
