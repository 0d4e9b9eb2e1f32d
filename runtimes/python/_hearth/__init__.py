"""The Python runtime of Hearth. `wire`, `payload` and `life` are loaded at every start, the rest
(`faults`, `logs`, `aio`) by the first who needs it.
"""


class Fault(Exception):
    """An error of the runtime's own vocabulary (`Runtime.…`), reported without a trace of our frames."""

    def __init__(self, kind, message, trace=()):
        Exception.__init__(self, message)
        self.kind, self.message, self.trace = kind, message, list(trace)
