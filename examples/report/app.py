"""A weekly report on a household's meters, made when a schedule calls.

Compares the seven days before the event's day with the seven before those, by the average of a day so
that missing readings do not look like savings. Days far above the usual are pointed out.
"""

import csv
import html
import json
import logging
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path
from statistics import mean, median

READINGS = Path(__file__).parent / "readings.csv"
DAYS = 7
UNUSUAL = Decimal("1.5")  # times the median of both weeks

log = logging.getLogger()
log.setLevel(logging.INFO)


@dataclass(frozen=True)
class Meter:
    column: str
    name: str
    unit: str


METERS = (
    Meter("electricity_kwh", "Electricity", "kWh"),
    Meter("gas_m3", "Gas", "m³"),
    Meter("water_l", "Water", "l"),
)


class NoReadings(Exception):
    pass


def handler(event, context):
    summary = summarise(read(READINGS), day_of(event))
    for day in summary["missing"]:
        write(logging.WARNING, "missing reading", **day)
    for day in summary["unusual"]:
        write(logging.WARNING, "unusual day", **day)
    write(logging.INFO, "report made", **{key: summary[key] for key in ("from", "to", "meters")})

    title = f"Household meters, {summary['from']} to {summary['to']}"
    return {
        "subject": title,
        "summary": summary,
        "markdown": as_markdown(title, summary),
        "html": as_html(title, summary),
    }


def write(level, message, **fields):
    """One line of JSON; the level is in it for whoever reads lines, and given for whoever filters."""
    line = {"level": logging.getLevelName(level), "message": message} | fields
    log.log(level, json.dumps(line, ensure_ascii=False))


def day_of(event):
    text = event.get("time")
    if not isinstance(text, str):
        raise ValueError("the event has no time: expected one from a schedule, see event.json")
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError(f"time needs a time zone, like 2024-01-29T06:00:00Z, got {text!r}")
    return when.astimezone(timezone.utc).date()


def read(file):
    """The readings by day and column. A day or a value may be missing."""
    readings = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines), start=2):
            try:
                day = date.fromisoformat(row["day"])
                # Decimals, since sums of what people read off a meter should come out as they expect.
                values = {m.column: Decimal(row[m.column]) for m in METERS if row[m.column]}
            except (KeyError, ValueError, InvalidOperation) as error:
                raise ValueError(f"{file.name}, line {number}: not a reading: {row}") from error
            readings[day] = values
    return readings


# === Summary ===


def summarise(readings, today):
    week = [today - timedelta(days=n) for n in range(DAYS, 0, -1)]
    before = [day - timedelta(days=DAYS) for day in week]
    if not any(day in readings for day in week):
        raise NoReadings(f"there are no readings from {week[0]} to {week[-1]}")

    meters, missing, unusual = [], [], []
    for meter in METERS:
        values = {day: readings.get(day, {}).get(meter.column) for day in before + week}
        known = {day: value for day, value in values.items() if value is not None}
        now = [known[day] for day in week if day in known]
        then = [known[day] for day in before if day in known]
        meters.append(
            {
                "name": meter.name,
                "unit": meter.unit,
                "total": number(sum(now)),
                "per_day": number(mean(now)) if now else None,
                "before": number(mean(then)) if then else None,
                "change_percent": change(now, then),
            }
        )
        for day in week:
            note = {"day": str(day), "meter": meter.name}
            if day not in known:
                missing.append(note)
            elif known[day] > UNUSUAL * median(known.values()):
                unusual.append(note | {"value": number(known[day]), "unit": meter.unit})
    return {
        "from": str(week[0]),
        "to": str(week[-1]),
        "meters": meters,
        "missing": missing,
        "unusual": unusual,
    }


def number(value):
    return float(round(Decimal(value), 1))


def change(now, then):
    if not now or not then or not mean(then):
        return None
    return round(100 * (mean(now) / mean(then) - 1))


# === Text ===


def rows(summary):
    yield "Meter", "Total", "A day", "Week before", "Change"
    for meter in summary["meters"]:
        percent = meter["change_percent"]
        yield (
            meter["name"],
            f"{meter['total']:.10g} {meter['unit']}",
            "–" if meter["per_day"] is None else f"{meter['per_day']:.10g}",
            "–" if meter["before"] is None else f"{meter['before']:.10g}",
            "–" if percent is None else f"{percent:+d} %",
        )


def remarks(summary):
    for day in summary["unusual"]:
        yield f"{day['meter']} on {day['day']} was unusually high: {day['value']:.10g} {day['unit']}."
    for day in summary["missing"]:
        yield f"{day['meter']} on {day['day']} is missing."


def as_markdown(title, summary):
    head, *body = rows(summary)
    table = [head, ("---", "--:", "--:", "--:", "--:"), *body]
    lines = [f"# {title}", "", *(f"| {' | '.join(row)} |" for row in table)]
    notes = [f"- {remark}" for remark in remarks(summary)]
    return "\n".join(lines + ([""] + notes if notes else [])) + "\n"


def as_html(title, summary):
    def line(cells, tag):
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    head, *body = rows(summary)
    notes = "".join(f"<li>{html.escape(remark)}</li>" for remark in remarks(summary))
    return (
        f"<h1>{html.escape(title)}</h1>"
        f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in body)}</table>"
        + (f"<ul>{notes}</ul>" if notes else "")
    )
