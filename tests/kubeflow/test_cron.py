"""Cron expressions as Kubeflow's controller reads them, and the same times in another zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from asdfd.kubeflow.cron import longest_pause, parse, rewritten, zone

SUMMER = datetime(2026, 7, 1, tzinfo=UTC)
WINTER = datetime(2026, 1, 7, tzinfo=UTC)


def matches(expression: str, moment: datetime) -> bool:
    """Whether a moment, in the expression's own zone, is one of its times."""
    cron, local = parse(expression), moment.replace(tzinfo=UTC)
    day: Any = local.date()
    parts = (cron.seconds, local.second), (cron.minutes, local.minute), (cron.hours, local.hour), (cron.months, local.month)
    return all(part in values for values, part in parts) and cron.match_day(day)


@pytest.mark.parametrize(
    ("expression", "moment", "expected"),
    [
        ("0 0 2 * * *", "2026-03-01 02:00:00", True),
        ("0 0 2 * * *", "2026-03-01 02:00:01", False),
        ("30 */15 8-17 ? * MON-FRI", "2026-03-02 09:45:30", True),
        ("30 */15 8-17 ? * MON-FRI", "2026-03-01 09:45:30", False),  # a Sunday
        ("0 5/20 * * jan,3 ?", "2026-03-01 23:45:00", True),
        ("0 0 0 13 * fri", "2026-02-13 00:00:00", True),
        ("0 0 0 13 * fri", "2026-02-20 00:00:00", True),  # either of the two days, as cron has it
        ("0 0 0 13 * fri", "2026-02-14 00:00:00", False),
        ("0 0 0 */2 * fri", "2026-02-13 00:00:00", True),
        ("0 0 0 */2 * fri", "2026-02-15 00:00:00", False),  # a step of all is all: both fields must match, as in the controller
        ("0 0 0 */7 * sat", "2026-02-28 00:00:00", False),
        ("0 0 0 13 * */2", "2026-03-13 00:00:00", False),  # the same in the other field: a Friday is none of Sunday, Tuesday, Thursday, Saturday
        ("0 0 0 ?/2 * fri", "2026-02-15 00:00:00", False),
        ("0 0 0 1,*/2 * fri", "2026-02-13 00:00:00", True),
        ("0 0 0 1,*/2 * fri", "2026-02-15 00:00:00", False),  # any item of the list counts, and not the first one only
        ("0 0 0 13 * 1,*/2", "2026-02-20 00:00:00", False),
        ("0 0 0 1-31/2 * fri", "2026-02-15 00:00:00", True),  # the same days without the star: one of the fields is enough
        ("0 0 0 * * 1/2", "2026-03-02 00:00:00", True),  # Monday, Wednesday, Friday
        ("0 0 0 * * 1/2", "2026-03-01 00:00:00", False),  # and no Sunday, which CronSim calls 7 as well
        ("0 0 0 * * sat/1", "2026-03-01 00:00:00", False),
        ("0 0 0 * * mon-1/2", "2026-03-04 00:00:00", False),
        ("0 0 4-4/2 * * *", "2026-03-01 06:00:00", False),
        ("0 0 4-04/2 * * *", "2026-03-01 04:00:00", True),
        ("0 0 0 1 3-MAR/3 *", "2026-06-01 00:00:00", False),
        ("0 0 0 * JUL Fri,SUN", "2026-07-05 00:00:00", True),
        ("0 0 0 * * 1-fri/2", "2026-03-04 00:00:00", True),
        ("0 0/90 2 * * *", "2026-03-01 02:00:00", True),  # a step beyond the field leaves the first value
        ("00 00 02 01 * *", "2026-03-01 02:00:00", True),
    ],
)
def test_times_of_an_expression(expression: str, moment: str, expected: bool) -> None:
    assert matches(expression, datetime.fromisoformat(moment)) is expected


@pytest.mark.parametrize(
    ("expression", "line"),
    [
        ("0 2 * * *", "'0 2 * * *' is not six fields, seconds first; write '0 0 2 * * *' for every day at two"),
        ("@daily", "'@daily' is not six fields"),
        ("@every 1h30m", "'@every 1h30m' is not six fields"),
        ("", "'' is not six fields"),
        ("TZ=Europe/Berlin 0 0 2 * * *", "is not six fields"),
        ("CRON_TZ=UTC 0 2 * * *", "'CRON_TZ=UTC' is not a second"),
        ("60 0 2 * * *", "'60' is not a second, which is 0 to 59"),
        ("0 0 24 * * *", "'24' is not an hour, which is 0 to 23"),
        ("0 0 2 0 * *", "'0' is not a day of the month, which is 1 to 31"),
        ("0 0 2 * * 7", "'7' is not a day of the week, which is 0 to 6"),
        ("0 0 2 * * 5-7", "'5-7' is not a day of the week"),
        ("0 0 2 * * 007", "'007' is not a day of the week"),
        ("0 0 2 * * 07", "'07' is not a day of the week"),
        ("0 0 2 * * 7/2", "'7/2' is not a day of the week"),
        ("0 0 2 * * 1,7", "'1,7' is not a day of the week"),
        ("0 0 2 * * fri-sun", "'fri-sun' is not a day of the week"),
        ("0 0 2 * * friday", "'friday' is not a day of the week"),
        ("0 0 2 * * jan", "'jan' is not a day of the week"),
        ("0 0 2 * mon *", "'mon' is not a month"),
        ("0 0 2 * * tue-2/0", "'tue-2/0' is not a day of the week"),
        ("0 0 2 * * sat/0", "'sat/0' is not a day of the week"),
        ("0 0 2 jan-jan * *", "'jan-jan' is not a day of the month"),
        ("0 0 2 * * 1/fri", "'1/fri' is not a day of the week"),
        ("0 0 2 15W * *", "'15W' is not a day of the month"),
        ("0 1,,2 2 * * *", "'1,,2' is not a minute"),
        ("0 1-5-9 2 * * *", "'1-5-9' is not a minute"),
        ("0 1/2/3 2 * * *", "'1/2/3' is not a minute"),
        ("0 -1 2 * * *", "'-1' is not a minute"),
        ("0 *-5 2 * * *", "'*-5' is not a minute"),
        ("0 */99999999999999999999 2 * * *", "is not a minute"),
        ("0 0 2 * foo *", "'foo' is not a month"),
        ("0 0 4-2 * * *", "'4-2' is not an hour"),
        ("0 */0 2 * * *", "'*/0' is not a minute, which is 0 to 59, or a list, a range or a step of these"),
        ("0 1- 2 * * *", "'1-' is not a minute"),
        ("0 ٣ 2 * * *", "is not a minute"),
        ("0 0 2 L * *", "'L' is not a day of the month"),
        ("0 0 2 LW * *", "'LW' is not a day of the month"),
        ("0 0 2 * * 5L", "'5L' is not a day of the week"),
        ("0 0 2 * * fri#2", "'fri#2' is not a day of the week"),
        ("0 0 2 31 feb *", "names a day that its months do not have"),
        ("0 0 2 29 feb */2", "may not come for more than 5 years"),
        ("0 0 2 */31 1 mon", "may not come for more than 5 years"),
    ],
)
def test_what_is_no_expression(expression: str, line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(line)):
        parse(expression)


@pytest.mark.parametrize(
    ("expression", "from_zone", "moment", "expected"),
    [
        ("0 0 2 * * *", "UTC", SUMMER, "0 0 2 * * *"),
        ("0 0 2 * * *", "Europe/Berlin", SUMMER, "0 0 0 * * *"),
        ("0 0 2 * * *", "Europe/Berlin", WINTER, "0 0 1 * * *"),
        ("0 0 1 * * MON", "Europe/Berlin", SUMMER, "0 0 23 * * 0"),
        ("0 30 6 * * *", "Asia/Kolkata", SUMMER, "0 0 1 * * *"),
        ("0 0 * * * *", "Asia/Kolkata", SUMMER, "0 30 * * * *"),
        ("0 */10 * * * *", "America/New_York", SUMMER, "0 */10 * * * *"),
        ("0 0 6 1 * *", "Europe/Berlin", SUMMER, "0 0 4 1 * *"),
        ("0 0 6 13 * */2", "Europe/Berlin", SUMMER, "0 0 4 13 * */2"),  # the star stays: with 0,2,4,6 one of the fields would be enough
    ],
)
def test_times_of_a_zone_in_utc(expression: str, from_zone: str, moment: datetime, expected: str) -> None:
    assert rewritten(expression, from_zone, "UTC", moment) == expected


@pytest.mark.parametrize(
    "expression",
    ["0 0 1 1 * *", "0 0 1,12 * * MON", "0 0 1 * 6 *"],
    ids=["a day of the month moves to the month before", "some times move to another day", "a month moves"],
)
def test_times_that_no_single_expression_has_elsewhere(expression: str) -> None:
    with pytest.raises(ValueError, match="cannot be written as one cron expression in UTC"):
        rewritten(expression, "Europe/Berlin", "UTC", SUMMER)


def test_an_unknown_zone() -> None:
    for name in ("Europe/Atlantis", "", "../etc/passwd", "CET+1"):
        with pytest.raises(ValueError, match="is not a time zone"):
            zone(name)


def values(low: int, high: int) -> st.SearchStrategy[str]:
    """A field: any, or up to three values."""
    return st.just("*") | st.lists(st.integers(low, high), min_size=1, max_size=3).map(lambda found: ",".join(map(str, found)))


DAILY = st.tuples(st.just("0"), values(0, 59), values(0, 23), st.just("*"), st.just("*"), values(0, 6)).map(" ".join)
ZONES = st.sampled_from(["Europe/Berlin", "Asia/Kolkata", "America/New_York", "UTC", "Australia/Adelaide"])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(DAILY, ZONES, ZONES, st.integers(0, 20000))
def test_the_rewritten_expression_has_the_same_times(expression: str, from_zone: str, to_zone: str, start: int) -> None:
    """At every 11th minute of two days of a summer in which no clock is changed."""
    try:
        found = rewritten(expression, from_zone, to_zone, SUMMER)
    except ValueError:
        reject()  # hypothesis says so where that happens too often
    for minutes in range(start, start + 2 * 24 * 60, 11):
        moment = SUMMER + timedelta(minutes=minutes)
        assert matches(expression, moment.astimezone(zone(from_zone))) == matches(found, moment.astimezone(zone(to_zone)))


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [
        ("0 0 2 * * *", 86400),
        ("0 0 8,20 * * *", 43200),
        ("0 0 2 * * mon-fri", 3 * 86400),
        ("0 */5 * * * *", 300),
        ("0 0 0 29 2 *", 4 * 366 * 86400),
    ],
)
def test_the_longest_pause(expression: str, seconds: float) -> None:
    assert longest_pause(expression) == seconds
