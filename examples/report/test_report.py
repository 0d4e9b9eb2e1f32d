"""Run with `python -m pytest examples/report`."""

import importlib.util
import json
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Loaded by path: every Python example has an `app`, and one test run may collect them all.
spec = importlib.util.spec_from_file_location("report_app", HERE / "app.py")
app = importlib.util.module_from_spec(spec)
spec.loader.exec_module(app)

MONDAY = date(2024, 1, 29)


def steady(**days):
    """Two weeks of equal readings before MONDAY, but for some: d1 is the day before it."""
    same = {"electricity_kwh": Decimal(8), "gas_m3": Decimal(6), "water_l": Decimal(250)}
    return {
        MONDAY - timedelta(days=n): same | days.get(f"d{n}", {}) for n in range(1, 15)
    }


def electricity(summary):
    return summary["meters"][0]


def test_compares_a_week_with_the_one_before():
    more = {f"d{n}": {"electricity_kwh": Decimal(10)} for n in range(1, 8)}
    summary = app.summarise(steady(**more), MONDAY)
    assert (summary["from"], summary["to"]) == ("2024-01-22", "2024-01-28")
    assert electricity(summary) == {
        "name": "Electricity",
        "unit": "kWh",
        "total": 70.0,
        "per_day": 10.0,
        "before": 8.0,
        "change_percent": 25,
    }


def test_a_missing_day_is_no_saving():
    readings = steady()
    del readings[date(2024, 1, 25)]
    summary = app.summarise(readings, MONDAY)
    assert electricity(summary)["change_percent"] == 0
    assert [day["meter"] for day in summary["missing"]] == ["Electricity", "Gas", "Water"]


def test_points_out_what_is_far_above_the_usual():
    summary = app.summarise(steady(d2={"water_l": Decimal(376)}, d3={"water_l": Decimal(375)}), MONDAY)
    assert summary["unusual"] == [{"day": "2024-01-27", "meter": "Water", "value": 376.0, "unit": "l"}]


def test_without_a_week_before_there_is_no_change_to_tell():
    readings = {day: values for day, values in steady().items() if day >= date(2024, 1, 22)}
    summary = app.summarise(readings, MONDAY)
    assert electricity(summary)["change_percent"] is None
    assert "| – | – |" in app.as_markdown("Title", summary)


def test_refuses_a_week_without_readings():
    with pytest.raises(app.NoReadings, match="2030-01-01 to 2030-01-07"):
        app.summarise(steady(), date(2030, 1, 8))


def test_names_the_line_that_is_no_reading(tmp_path):
    file = tmp_path / "readings.csv"
    file.write_text("day,electricity_kwh,gas_m3,water_l\n2024-01-01,7,6,250\n2024-01-02,much,6,250\n")
    with pytest.raises(ValueError, match=r"readings\.csv, line 3"):
        app.read(file)


def test_escapes_what_goes_into_html():
    assert app.as_html("<b>", app.summarise(steady(), MONDAY)).startswith("<h1>&lt;b&gt;</h1>")


def test_logs_json_with_levels(caplog):
    event = json.loads((HERE / "event.json").read_text())
    app.handler(event, None)
    lines = [json.loads(record.message) for record in caplog.records]
    assert [record.levelname for record in caplog.records] == [line["level"] for line in lines]
    assert [line["message"] for line in lines] == ["unusual day", "unusual day", "report made"]
