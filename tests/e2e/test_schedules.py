"""Schedules: deployed, listed with their next ticks, run by the clock, paused, run now."""

import json

from harness.functions import write
from harness.wait import until

TOLD = """
import json
def handler(event, context):
    print("told " + json.dumps(event))
"""
TWO = """
[[schedule]]
name = "often"
cron = "* * * * * *"
payload = {n = 1}

[[schedule]]
name = "nightly"
cron = "30 2 * * *"
timezone = "Europe/Berlin"
"""


def told(hearth, name):
    lines = [line["message"] for line in hearth.cli.logs(name, "--since", "10m")]
    return [json.loads(line.removeprefix("told ")) for line in lines if line.startswith("told ")]


def of(hearth, name, schedule):
    listed = hearth.cli.ok("schedule", "list", name, "--json").json()
    return next(one for one in listed if one["name"] == schedule)


def test_a_schedule_runs_is_paused_goes_on_and_runs_when_told(hearth, function):
    name = function(TOLD, toml=TWO)
    until("three ticks", lambda: len(told(hearth, name)) >= 3, within=20)
    assert all(event == {"n": 1} for event in told(hearth, name))
    hearth.cli.ok("schedule", "pause", name, "often")
    paused = of(hearth, name, "often")
    assert paused["paused"] and paused["next"] == []

    event = hearth.cli.ok("schedule", "run", name, "nightly").stdout.strip()
    found = until("the event that was asked for", lambda: [one for one in told(hearth, name) if "id" in one], within=10)
    assert found[0]["id"] == event and found[0]["detail-type"] == "Scheduled Event"
    assert found[0]["resources"] == [f"arn:aws:events:us-east-1:000000000000:rule/{name}/nightly"]
    assert of(hearth, name, "often")["enqueued"] == paused["enqueued"], "it ticked while it was paused"

    hearth.cli.ok("schedule", "resume", name, "often")
    until("it to go on", lambda: of(hearth, name, "often")["enqueued"] > paused["enqueued"], within=10)
    shown = hearth.cli.ok("schedule", "show", name, "nightly").stdout
    assert shown.count("next ") == 10 and "Europe/Berlin" in shown
    assert name in hearth.cli.ok("schedule", "list").stdout
    refused = hearth.cli.refused("schedule", "pause", name, "nihgtly")
    assert "often, nightly" in refused.text


def test_a_schedule_that_is_wrong_is_refused_with_its_line(hearth, tmp_path):
    cases = (
        ('cron = "61 * * * *"', "minute"),
        ('cron = "* * * * *"\ntimezone = "Mars/Base"', "timezone"),
        ('cron = "0 0 31 2 *"', "never comes"),
        ('cron = "* * * * *"\noverlapp = "skip"', '"overlap"'),
    )
    for number, (toml, said) in enumerate(cases):
        folder = write(tmp_path / str(number), TOLD, toml=f"[[schedule]]\n{toml}\n")
        refused = hearth.cli.refused("deploy", folder, "--name", "never", "--runtime", "python3.11")
        assert said in refused.text and "line " in refused.text, refused


def test_flags_make_schedules_and_rules_and_an_instance_is_ready_before_the_tick(hearth, function):
    flags = ("--schedule", "beat=*/8 * * * * *", "--schedule", "nightly=0 3 * * *@Europe/Berlin")
    flags += ("--retries", "1", "--max-age", "30m", "--on-failure", "alarm")
    name = function(TOLD, flags=flags, idle="1s")
    rules = hearth.cli.ok("list", "--json").json()
    rules = next(one for one in rules if one["name"] == name)["async"]
    assert (rules["retries"], rules["max_age"], rules["on_failure"]) == (1, "30m", "alarm"), rules
    assert of(hearth, name, "nightly")["timezone"] == "Europe/Berlin"
    until("two ticks", lambda: len(told(hearth, name)) >= 2, within=30)

    def recorded():
        found = hearth.api.invocations(name)
        return found if len(found) >= 2 else None

    # An instance is kept for a second: each tick would be a cold start.
    assert [one["cold"] for one in until("their records", recorded)] == [False] * 2
    ran = hearth.cli.refused("deploy", ".", "--schedule", "0 3 * *")
    assert "[NAME=]WHEN[@ZONE]" in ran.stderr, ran
