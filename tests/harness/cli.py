"""Running the `hearth` command as a person or a script does."""

import json
import subprocess
from dataclasses import dataclass


@dataclass
class Ran:
    command: list
    code: int
    stdout: str
    stderr: str

    def json(self):
        try:
            return json.loads(self.stdout)
        except ValueError as error:
            raise AssertionError(f"not JSON ({error}):\n{self}") from None

    def lines(self):
        """Each line of output as JSON, for `logs --json`."""
        return [json.loads(line) for line in self.stdout.splitlines() if line.strip()]

    @property
    def text(self):
        return self.stdout + self.stderr

    def __str__(self):
        return f"$ {' '.join(self.command)}\nstatus {self.code}\n{self.stdout}{self.stderr}"


class Cli:
    def __init__(self, hearth):
        self._hearth = hearth

    def environment(self):
        hearth = self._hearth
        return {
            **{name: value for name, value in hearth.environment.items() if not name.startswith("HEARTH_")},
            "HEARTH_DATA_DIR": str(hearth.data),
            "HEARTH_ENDPOINT": hearth.endpoint,
            "HEARTH_TOKEN": hearth.token,
        }

    def command(self, *arguments):
        return self._hearth.as_user([self._hearth.binary, *map(str, arguments)])

    def run(self, *arguments, timeout=120, cwd=None, input=None, environment=None):
        """Runs it and returns what came of it, whatever that was."""
        command = self.command(*arguments)
        ran = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=cwd or self._hearth.base,
            input=input if input is not None else "",
            env={**self.environment(), **(environment or {})},
        )
        return Ran(["hearth", *map(str, arguments)], ran.returncode, ran.stdout, ran.stderr)

    def ok(self, *arguments, **options):
        ran = self.run(*arguments, **options)
        assert ran.code == 0, f"should have worked:\n{ran}"
        return ran

    def refused(self, *arguments, **options):
        """Asserts that it fails like a tool and not like a program: a message, and no panic."""
        ran = self.run(*arguments, **options)
        assert ran.code != 0, f"should have been refused:\n{ran}"
        assert ran.stderr.strip() or ran.stdout.strip(), f"was refused without a word:\n{ran}"
        assert "panicked" not in ran.text, f"panicked:\n{ran}"
        return ran

    def start(self, *arguments):
        """A command that keeps running (`logs -f`); the caller ends it."""
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self._hearth.base,
            env=self.environment(),
        )

    def deploy(self, path, name, runtime=None, handler=None, env=None, flags=(), **options):
        """`hearth deploy`; options are flags without their dashes: memory="128MB"."""
        arguments = ["deploy", path, "--name", name]
        if runtime:
            arguments += ["--runtime", runtime]
        if handler:
            arguments += ["--handler", handler]
        for key, value in (env or {}).items():
            arguments += ["--env", f"{key}={value}"]
        for key, value in options.items():
            arguments += [f"--{key}", value]
        return self.ok(*arguments, *flags, "--json")

    def logs(self, name, *arguments):
        return self.ok("logs", name, "--json", *arguments).lines()
