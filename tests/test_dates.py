"""Dates as people write them: what they are in seconds, which forms are told apart, and what is refused."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidrec.catalog import Catalog, CatalogConfig, read_catalog
from sidrec.catalog.columns import Times, parse_timestamps
from sidrec.catalog.dates import USUAL, AmbiguousDatesError
from sidrec.config import load_config
from sidrec.errors import CatalogError, ConfigError

ITEMS = pd.DataFrame({"item_id": ["A"], "title": ["Red lamp"]})
MAY_31 = 19_874 * 86_400
"""54 years of 365 days since 1970 and 13 leap days are 19,723 days, and 31 + 29 + 31 + 30 + 30 more."""


def read(*cells: object, time_format: str | None = None) -> Times:
    return parse_timestamps(pd.Series(cells, name="am"), source="k.csv", time_format=time_format)


def formats_that_differ(cell: str) -> list[str]:
    try:
        read(cell)
    except AmbiguousDatesError as error:
        return error.formats
    return []


@pytest.mark.parametrize(
    ("cell", "seconds", "form"),
    [
        ("2024-05-31", 0, None),
        ("2024-5-31 18:30", 18.5 * 3600, None),
        ("2024/05/31", 0, None),
        ("2024-05-31T18:30:00Z", 18.5 * 3600, None),
        ("2024-05-31T18:30:00+02:00", 16.5 * 3600, None),
        ("31.05.2024", 0, "day.month.year"),
        ("31.5.2024 6:05", 6 * 3600 + 300, "day.month.year"),
        ("31.05.24", 0, "day.month.year"),
        ("31.05.2024 18:30", 18.5 * 3600, "day.month.year"),
        ("31.05.2024  8:30", 8.5 * 3600, "day.month.year"),
        ("31.05.2024 18:30:05", 18.5 * 3600 + 5, "day.month.year"),
        ("31/05/2024", 0, "day/month/year"),
        ("31/5/2024 18:30", 18.5 * 3600, "day/month/year"),
        ("05/31/2024", 0, "month/day/year"),
        ("5/31/24", 0, "month/day/year"),
        ("5/31/2024 6:30 PM", 18.5 * 3600, "month/day/year"),
        ("5/31/2024 12:30 am", 0.5 * 3600, "month/day/year"),
        ("05/31/2024 6:30:05 PM", 18.5 * 3600 + 5, "month/day/year"),
        ("2024/05/31 6:30 PM", 18.5 * 3600, "year/month/day"),
        ("31-05-2024", 0, "day-month-year"),
        ("31-05-2024 18:30", 18.5 * 3600, "day-month-year"),
        ("05-31-2024", 0, "month-day-year"),
        ("2024-05-31 6:30 PM", 18.5 * 3600, "year-month-day"),
    ],
)
def test_a_usual_date_becomes_utc_seconds(cell, seconds, form):
    times = read(cell)
    assert (times.values.tolist(), times.values.dtype, times.form) == ([MAY_31 + seconds], np.int64, form)


@pytest.mark.parametrize(
    ("cell", "time_format", "seconds"),
    [
        ("31. 5. 2024", "%d. %m. %Y", 0),
        ("May 31, 2024", "%B %d, %Y", 0),
        ("31.05.2024, 18:30", "%d.%m.%Y, %H:%M", 18.5 * 3600),
        ("20240531", "%Y%m%d", 0),
        (20240531, "%Y%m%d", 0),
        ("2024.152", "%Y.%j", 0),  # 31 + 29 + 31 + 30 + 31
        ("31/05/2024 00:30 +0200", "%d/%m/%Y %H:%M %z", -1.5 * 3600),
    ],
)
def test_any_other_date_is_read_by_its_format(cell, time_format, seconds):
    times = read(cell, time_format=time_format)
    assert (times.values.tolist(), times.form) == ([MAY_31 + seconds], time_format)


def test_two_digits_are_a_year_of_1969_to_2068():
    # 1969-12-31 is a day before 1970; 2068-01-01 is 98 years and 24 leap days (1972 to 2064) after it
    assert read("31.12.69", "1.1.68").values.tolist() == [-86_400, (98 * 365 + 24) * 86_400]


def test_parts_of_a_second_are_kept():
    times = read("31.05.2024 00:00:00.25", time_format="%d.%m.%Y %H:%M:%S.%f")
    assert times.values.tolist() == [MAY_31 + 0.25]


def test_one_cell_tells_day_from_month_for_the_whole_column():
    assert read("05/06/2024", "05/31/2024").form == "month/day/year"
    late = read(*["05/06/2024"] * 1_500, "31/05/2024")
    assert (late.form, late.values[-1]) == ("day/month/year", MAY_31)


def test_forms_that_give_the_same_dates_are_no_matter():
    assert read("01/01/1970", "02/02/1970").values.tolist() == [0, 32 * 86_400]


def test_a_hundred_thousand_rows_are_read():
    seconds = np.arange(100_000) * 60_000
    cells = pd.Series(pd.to_datetime(seconds, unit="s").strftime("%d.%m.%Y %H:%M"), name="am")
    assert (parse_timestamps(cells, source="k.csv").values == seconds).all()


@pytest.mark.parametrize(
    ("cells", "formats"),
    [
        (("05/05/2024", "05/06/2024"), ["%d/%m/%Y", "%m/%d/%Y"]),
        (("05-06-2024 18:30",), ["%d-%m-%Y %H:%M", "%m-%d-%Y %H:%M"]),
        (("31/05/24",), ["%d/%m/%y", "%y/%m/%d"]),
        (("05/06/07",), ["%d/%m/%y", "%m/%d/%y", "%y/%m/%d"]),
    ],
)
def test_dates_that_could_be_others_are_refused(cells, formats):
    message = rf'k\.csv: "{cells[-1]}" as am can be "{formats[0]}" or .* set catalog\.time_format to it'
    with pytest.raises(AmbiguousDatesError, match=message) as raised:
        read(*cells)
    assert (raised.value.column, raised.value.cell, raised.value.formats) == ("am", cells[-1], formats)
    assert read(*cells, time_format=formats[0]).form == formats[0]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            ("31.05.2024", "2024-05-31"),
            r'row 2 has "2024-05-31" .* like the first, "31\.05\.2024" \(day\.mon',
        ),
        (("2024-05-31", "31.05.2024"), r'row 2 has "31\.05\.2024" .* "2024-05-31" \(an ISO date\)'),
        (("31.05.2024", "1.6.2024 18:30"), r'row 2 has "1\.6\.2024 18:30" as am'),
        (("28.02.2023", "29.02.2023"), r'row 2 has "29\.02\.2023" as am, expected a date written'),
        (("31.05.2024", ""), r'row 2 has "" as am'),
        (("31.05.2024", None), r'row 2 has "" as am'),
        (("31.05.2024", "now"), r'row 2 has "now" as am'),
        (("2024-05-31", "today"), r'row 2 has "today" as am'),
        (("05/06/2024", "13/13/2024"), r"row 2 .* \(day/month/year or month/day/year\)"),
        (
            ("29.02.2023",),
            r'row 1 has "29\.02\.2023" as am, expected a number or an ISO date .* Mend the row',
        ),
        (("soon",), r"expected a number or .* such as 31\.05\.2024 18:30, .* catalog\.time_format describes"),
        (("31.05.2024", *["1.6.2024"] * 2_000, "32.05.2024"), r'data row 2002 has "32\.05\.2024" as am'),
    ],
)
def test_a_cell_that_does_not_fit_is_named(cells, message):
    with pytest.raises(CatalogError, match=message):
        read(*cells)


def test_leap_days_are_dates_of_leap_years():
    assert read("29.02.2024").values.tolist() == [MAY_31 - 92 * 86_400]  # 31 + 30 + 31 days of March to May


@pytest.mark.parametrize(
    ("time_format", "message"),
    [
        ("%H:%M", r"expected a year in it, %Y \(2024\) or %y \(24\)"),
        ("100%%", r"expected a year in it"),
        ("%Y %y", r"expected a year in it"),
        ("%D.%m.%Y", r"%D stands for nothing, expected of strptime's directives %Y, %y, %m"),
        ("%d.%m.%Y %", r"% stands for nothing"),
        ("%d.%d.%Y", r"%d is there twice, expected once"),
        ("%d/%M/%Y", r"%d is there without a month, %m \(%M are minutes\)"),
        ("%d/%m/%Y %H:%M %p", r"%p is there without hours up to 12, %I"),
        ("%d/%m/%Y %I:%M", r"%I is there without AM or PM, %p"),
        ("%Y-%M", r"%M is there without hours, %H \(the month is %m\)"),
    ],
)
def test_a_format_of_no_dates_is_refused(time_format, message):
    with pytest.raises(CatalogError, match=rf"catalog\.time_format: {message}"):
        read("31.05.2024", time_format=time_format)
    with pytest.raises(ConfigError, match=rf"catalog\.time_format: {message}.*, got '{time_format}'\."):
        load_config(None, [f"catalog.time_format={time_format}"])


def test_a_cell_that_does_not_fit_the_format_is_named():
    message = (
        r'k\.csv: data row 2 has "05/31/2024" as am, expected a date written as '
        r'catalog\.time_format="%d/%m/%Y" says\. Mend the row, or set '
        r"catalog\.time_format to how the column is written\."
    )
    with pytest.raises(CatalogError, match=message):
        read("05/06/2024", "05/31/2024", time_format="%d/%m/%Y")


def test_a_format_that_would_change_nothing_is_refused():
    with pytest.raises(CatalogError, match=r"am holds dates that need no reading, so .* Leave it out"):
        read(pd.Timestamp("2024-05-31"), time_format="%Y-%m-%d")
    events = pd.DataFrame({"user_id": ["u"], "item_id": ["A"]})
    with pytest.raises(
        CatalogError, match=r'"%Y" would change nothing: interactions has no column "timestamp"'
    ):
        Catalog(ITEMS, events, time_format="%Y")


@pytest.mark.parametrize(("time_format", "shown"), [(None, "day.month.year"), ("%d.%m.%Y", "%d.%m.%Y")])
def test_a_catalogue_says_how_dates_were_read_and_remembers_it(tmp_path, time_format, shown):
    ITEMS.to_csv(tmp_path / "items.csv", index=False)
    (tmp_path / "events.csv").write_text("user_id,item_id,am\nu,A,2.1.1970\nu,A,1.1.1970\n")
    files = {"items": tmp_path / "items.csv", "interactions": tmp_path / "events.csv"}
    catalog = read_catalog(CatalogConfig(**files, timestamp="am", time_format=time_format))
    assert catalog.interactions["timestamp"].tolist() == [0, 86_400]
    assert catalog.order == f"column 'am' ({shown})"
    assert f"in the order of: column 'am' ({shown})" in catalog.describe()
    catalog.save(tmp_path / "kept")
    kept = Catalog.load(tmp_path / "kept")
    assert (kept.order, kept.sha256) == (catalog.order, catalog.sha256)


@settings(deadline=None, max_examples=60)
@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31)).map(lambda each: each.replace(microsecond=0)),
    st.sampled_from(USUAL),
)
def test_a_date_in_any_usual_form_is_read_back_or_could_be_another(moment, form):
    cell = moment.strftime(form.format)
    seconds = int(datetime.strptime(cell, form.format).replace(tzinfo=UTC).timestamp())
    assert form.format in formats_that_differ(cell) or read(cell).values.tolist() == [seconds]
    assert read(cell, time_format=form.format).values.tolist() == [seconds]
