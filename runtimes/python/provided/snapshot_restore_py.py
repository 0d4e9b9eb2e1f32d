"""What a function does before its fork point is made and after an instance has gone on from it.

The names of AWS's package, which its Python runtime brings along; a package of that name in the function comes first.
"""

__all__ = ["register_before_snapshot", "register_after_restore"]

_before_snapshot = []
_after_restore = []


def register_before_snapshot(func, *args, **kwargs):
    """To be called before the fork point is made, the last registered first. Works as a decorator too."""
    _before_snapshot.append((func, args, kwargs))
    return func


def register_after_restore(func, *args, **kwargs):
    """To be called in every new instance before its first call, in order. Works as a decorator too."""
    _after_restore.append((func, args, kwargs))
    return func


def get_before_snapshot():
    return _before_snapshot


def get_after_restore():
    return _after_restore
