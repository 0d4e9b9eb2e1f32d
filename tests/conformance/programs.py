"""Programs of compiled languages that cases are about: built from their lock files, once for a run, into target/programs.

    programs/go, programs/rust ──build──► target/programs/…/NAME ──suite.stage──► bootstrap

Where a toolchain is missing or too old, the cases are skipped, and say so. A program that does not build is an error.
"""

import functools
import os
import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent / "programs"
BUILT = Path(__file__).resolve().parent.parent.parent / "target/programs"

LANGUAGES = ("go", "rust")

# No newer toolchain is fetched than the one that is here. Without debug symbols, for all alike, so that they share what
# they depend on.
ENVIRONMENT = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "CARGO_TERM_COLOR": "never"}
ENVIRONMENT |= {"CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_PROFILE_DEV_STRIP": "true"}
TOO_OLD = ("go.mod requires go >=", "invalid go version", "requires rustc")


@functools.cache
def missing(language):
    """Why there are no programs of the language here; None: there are."""
    return build(language, FOLDER / language)


def built(language, name):
    """The path of a program."""
    reason = missing(language)
    assert reason is None, reason
    return place(language) / name


def place(language):
    return BUILT / ("go" if language == "go" else "rust/debug")


def language_of(folder):
    """What the folder's programs are written in; None: in nothing that is built."""
    return "go" if (folder / "go.mod").exists() else "rust" if (folder / "Cargo.toml").exists() else None


def build(language, folder):
    """Builds all programs of the folder into `place(language)`. Returns why that cannot be done here."""
    command = {
        "go": ["go", "build", "-trimpath", "-mod=readonly", "-ldflags=-s -w", "-o", f"{place('go')}/", "./..."],
        "rust": ["cargo", "build", "--locked", "--target-dir", str(BUILT / "rust")],
    }[language]
    if not shutil.which(command[0]):
        return f"no {command[0]} here to build the {language} programs with"
    # What is set for building Hearth is not theirs: another target folder, other flags.
    others = ("CARGO_TARGET_DIR", "CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_ENCODED_", "RUSTFLAGS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    place(language).mkdir(parents=True, exist_ok=True)
    ran = subprocess.run(
        command, cwd=folder, env=environment | ENVIRONMENT, capture_output=True, text=True, timeout=900
    )
    if ran.returncode == 0:
        return None
    for line in ran.stderr.splitlines():
        if any(sign in line for sign in TOO_OLD):
            return f"the {language} programs: {line.strip()}"
    raise RuntimeError(f"the {language} programs do not build:\n{ran.stderr}")
