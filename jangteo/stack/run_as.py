"""The user that runs PostgreSQL: it refuses to run as root, so root gives it another identity.

The first that works is used: the owner of a directory that an ordinary user created; uid 1000 of a
user namespace (files stay root's, paths below /root work); `nobody`, which then owns the directory.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from pathlib import Path
from typing import Final

from jangteo.stack.spawn import SAME, shim
from shop.errors import UsageError

USERNS: Final = "userns"


def for_directory(directory: Path, program: Path) -> str:
    """Choose the identity that owns `directory` and can run `program`.

    Args:
        directory: PostgreSQL's existing directory; if root owns it, its owner may change.
        program: path of the server.

    Raises:
        UsageError: if there is no such identity; the message has the reason and what to do.
    """
    if os.geteuid() != 0:
        return SAME
    owner = directory.stat()
    if owner.st_uid != 0:
        return f"{owner.st_uid}:{owner.st_gid}"
    refused = _try(USERNS, directory, program)
    if not refused:
        return USERNS
    nobody = pwd.getpwnam("nobody")
    lent = f"{nobody.pw_uid}:{nobody.pw_gid}"
    give_tree(directory, lent)
    refused_too = _try(lent, directory, program)
    if not refused_too:
        return lent
    give_tree(directory, "0:0")
    raise UsageError(
        "PostgreSQL does not run as root, and here it can neither use a user namespace "
        f"({refused}) nor be user nobody ({refused_too}): start as an ordinary user, or use a "
        "--data-dir and an installation that everybody may enter"
    )


def give(path: Path, identity: str) -> None:
    """Make the identity the owner of a file; in a user namespace it owns root's files already."""
    if ":" in identity:
        uid, _, gid = identity.partition(":")
        os.chown(path, int(uid), int(gid), follow_symlinks=False)


def give_tree(directory: Path, identity: str) -> None:
    """Make the identity the owner of a directory and all that is in it."""
    give(directory, identity)
    for folder, folders, files in os.walk(directory):
        for name in (*folders, *files):
            give(Path(folder, name), identity)


def _try(identity: str, directory: Path, program: Path) -> str:
    """Return why the identity cannot enter the directory and run the program; empty if it can."""
    for command in (["/bin/ls", str(directory)], [str(program), "--version"]):
        done = subprocess.run(
            shim(command, death_signal=signal.SIGKILL, identity=identity),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            return next(iter(done.stderr.strip().splitlines()), f"exit {done.returncode}")
    return ""
