"""docs/attacks.md is what the suite says: made of cases.py and elsewhere.py (`UPDATE=1` writes it), and every test that it
names is there."""

import os
from pathlib import Path

from attacks.cases import ATTACKS, DRIVERS
from attacks.elsewhere import ELSEWHERE, NOT_YET

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs/attacks.md"

HEAD = """# Attacks

What code in a sandbox, a package or a client may try, and what comes of it. `make attacks` tries all of it on this machine,
CI most; this page is made by the suite (`UPDATE=1`), and a test holds it. What the walls are and what they are not is in
[security.md](security.md).

**D** denied, and the function lives · **K** killed, with an error that says so · **C** confined: so much and no more ·
**R** refused with the reason · **N** made harmless. **K C**: whichever limit is met first.

## From within a sandbox

One static program tries each of these on each isolation (`tests/attacks`). Meanwhile a function beside it is called twenty
times a second: no call of its may fail. The server's memory may grow by 32 MiB at most. Files, sockets and a port of this
machine's say whether anybody reached them, Hearth's programs are the same as before, and two seconds later no process, mount,
control group, network namespace, container or file is left.
"""


def letters(means):
    return " ".join(means)


def render():
    lines, notes = [HEAD], []
    for group in dict.fromkeys(one.group for one in ATTACKS):
        lines += [f"### {group}\n", f"| attack | {' | '.join(DRIVERS)} |", f"| --- |{' --- |' * len(DRIVERS)}"]
        for attack in (one for one in ATTACKS if one.group == group):
            cells = []
            for driver in DRIVERS:
                cell, note = letters(attack.on(driver).means), attack.differs.get(driver, {}).get("note")
                if note:
                    if note not in notes:
                        notes.append(note)
                    cell += f" ({notes.index(note) + 1})"
                cells.append(cell)
            most = ", ".join(f"{count:,} {what}" for what, count in attack.bounds.items() if attack.group != "Memory" and count)
            lines.append(f"| {attack.title}{f': at most {most}' if most else ''} | {' | '.join(cells)} |")
        lines.append("")
    lines += [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    lines += ["", "## Where the other tests are\n"]
    for group, rows in ELSEWHERE.items():
        lines += [f"### {group}\n", "| attack | | test |", "| --- | --- | --- |"]
        lines += [f"| {what} | {means} | `{test}` |" for what, means, test in rows]
        lines.append("")
    lines += ["## Not tried yet\n", *(f"- {what}" for what in NOT_YET)]
    return "\n".join(lines).rstrip() + "\n"


def test_the_page_is_what_the_suite_says():
    if os.environ.get("UPDATE") == "1":
        PAGE.write_text(render())
    assert PAGE.read_text() == render(), "docs/attacks.md says something else: UPDATE=1 writes it"


def test_every_test_that_the_page_names_is_there():
    missing = []
    for rows in ELSEWHERE.values():
        for _, _, test in rows:
            path, _, name = test.partition("::")
            file = REPOSITORY / path
            if not file.exists() or (name and f"{name}(" not in file.read_text()):
                missing.append(test)
    assert not missing, missing


def test_no_attack_is_named_twice():
    names = [one.case for one in ATTACKS]
    assert len(names) == len(set(names))
