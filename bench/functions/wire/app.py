"""Becomes a program that speaks to Hearth itself, and does nothing with an event: the least a function can be."""

import os

CONTROL, INVOKE = 3, 4

os.dup2(INVOKE, 0)
os.dup2(CONTROL, 1)
os.execv(os.path.dirname(__file__) + "/bench", ["bench", "guest"])
