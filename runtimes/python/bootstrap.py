"""Entry of the Python runtime: `python3.X -I -S /var/runtime/python/bootstrap.py`.

The interpreter never caches the code of its main script, so this file is short and everything else
lies in the package `_hearth` beside it, whose byte code the host compiles when it installs the
runtime (see README.md). The folder is on `sys.path` only while the package is being found: a module
of the function can never be shadowed by one of ours.
"""

import sys

if __name__ == "__main__":  # multiprocessing's `spawn` imports this file again, as __mp_main__
    sys.dont_write_bytecode = True  # the function's folder is read-only, and so is ours
    _here = __file__.rpartition("/")[0] or "."
    sys.path[:] = [_here] + [p for p in sys.path if p != _here]
    from _hearth import life

    del sys.path[0]
    life.main()
