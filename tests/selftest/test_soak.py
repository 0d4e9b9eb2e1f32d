"""The soak test tells what leaks from what comes and goes."""

import random

from harness import soak


def series(count, leaks=0.0, noise=0, base=100):
    dice = random.Random(1)
    return [base + int(leaks * n) + dice.randrange(noise + 1) for n in range(count)]


SAME = [5] * 360


def test_a_descriptor_a_minute_is_a_leak():
    # Each 10 s over an hour.
    assert soak.leak("descriptors", series(360, leaks=1 / 6, noise=20), SAME)


def test_three_kilobytes_a_second_are_a_leak():
    assert soak.leak("kib", series(360, leaks=30, noise=500, base=60_000), SAME)


def test_what_comes_and_goes_is_none():
    assert not soak.leak("descriptors", series(360, noise=40), SAME)
    assert not soak.leak("kib", series(360, noise=20_000, base=60_000), SAME)


def test_what_grew_at_the_beginning_only_is_none():
    values = [40_000 + 200 * min(n, 100) for n in range(360)]
    assert not soak.leak("kib", values, SAME)


def sandboxes():
    """Two more in the last quarter than before, but for a few samples."""
    return [5 if n < 270 or n % 30 == 0 else 7 for n in range(360)]


def test_what_more_sandboxes_hold_is_none():
    values = [value + 6 * count for value, count in zip(series(360, noise=3), sandboxes(), strict=True)]
    assert not soak.leak("descriptors", values, sandboxes())


def test_more_sandboxes_hide_no_leak():
    values = [value + 6 * count for value, count in zip(series(360, leaks=1 / 6, noise=3), sandboxes(), strict=True)]
    assert soak.leak("descriptors", values, sandboxes())


def test_without_a_number_of_sandboxes_in_common_floors_are_compared():
    counts = [5] * 270 + [7] * 90
    assert soak.leak("descriptors", [6 * count for count in counts], counts)
    assert not soak.leak("descriptors", [100] * 360, counts)
