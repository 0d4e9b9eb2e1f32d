# Reads names of files as JSON, compiles each and runs none, and says what is wrong with them.
import json
import sys
import warnings

warnings.simplefilter("ignore")
wrong = []
for path in json.load(sys.stdin):
    try:
        with open(path, "rb") as file:
            compile(file.read(), path, "exec", dont_inherit=True)
    except SyntaxError as error:
        wrong.append({"path": path, "line": error.lineno, "message": error.msg})
    except (ValueError, RecursionError, MemoryError) as error:
        wrong.append({"path": path, "line": None, "message": str(error)})
    except OSError:
        pass  # it went in between, which is a change of its own
json.dump(wrong, sys.stdout)
