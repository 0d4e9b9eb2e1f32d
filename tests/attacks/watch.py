"""What is looked at around every attack."""

from attacks import oracle
from harness import leaks

MIB = 1 << 20


class unharmed:
    """That nothing else was touched by what goes on meanwhile, and that nothing of it is left two seconds later."""

    def __init__(self, attacked, what, growth=32 * MIB):
        self.attacked, self.what, self.told, self.limit = attacked, what, [], growth

    def __enter__(self):
        self.attacked.neighbour.failures.clear()
        self.first = len(self.attacked.neighbour.took)
        self.before = leaks.take()
        self.growth = oracle.Growth(self.attacked.server).__enter__()
        return self.told

    def __exit__(self, kind, *_):
        self.growth.__exit__()
        if kind:
            return
        attacked, neighbour = self.attacked, self.attacked.neighbour
        oracle.alive(attacked.hearth, attacked.server)
        leaks.assert_clean(self.before)
        times = neighbour.took[self.first :]
        slowest, p99 = max(times, default=0), neighbour.p99(times)
        attacked.report.append(
            f"{self.what}: {' '.join(self.told)}; neighbour: p99 {p99 * 1e3:.0f} ms (before: {neighbour.baseline * 1e3:.0f}), "
            f"{len(neighbour.failures)} errors; server: +{self.growth.most / MIB:.1f} MiB"
        )
        print(attacked.report[-1])
        assert not neighbour.failures, f"a neighbour failed: {neighbour.failures[:3]}"
        assert slowest < oracle.SLOWEST, f"a neighbour waited {slowest:.1f} s"
        assert self.growth.most <= self.limit, f"the server grew by {self.growth.most / MIB:.0f} MiB"
        attacked.canaries.assert_untouched()
