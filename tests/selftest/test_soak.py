"""The soak test tells what leaks from what comes and goes."""

import random

from harness import soak


def series(count, leaks=0.0, noise=0, base=100):
    dice = random.Random(1)
    return [base + int(leaks * n) + dice.randrange(noise + 1) for n in range(count)]


def test_a_descriptor_a_minute_is_a_leak():
    # Each 10 s over an hour.
    assert soak.leak("descriptors", series(360, leaks=1 / 6, noise=20))


def test_three_kilobytes_a_second_are_a_leak():
    assert soak.leak("kib", series(360, leaks=30, noise=500, base=60_000))


def test_what_comes_and_goes_is_none():
    assert not soak.leak("descriptors", series(360, noise=40))
    assert not soak.leak("kib", series(360, noise=20_000, base=60_000))


def test_what_grew_at_the_beginning_only_is_none():
    values = [40_000 + 200 * min(n, 100) for n in range(360)]
    assert not soak.leak("kib", values)
