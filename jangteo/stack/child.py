"""The first moments of a child process: bound to its parent's life, then replaced by its command.

Run as a script by `jangteo.stack.spawn`, never imported by it: between fork and exec there must be
no thread of the parent, no import of this project and no lock. Arguments: ``PARENT SIGNAL IDENTITY
-- COMMAND...`` where PARENT is the pid whose death sends SIGNAL, and IDENTITY is ``same``,
``userns`` or ``UID:GID``.
"""

from __future__ import annotations

import ctypes
import os
import sys

_CLONE_NEWUSER = 0x10000000  # linux/sched.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_INSIDE = 1000  # any number but 0: PostgreSQL refuses to run as uid 0
EXIT_REFUSED = 125  # the identity cannot be taken on this machine
EXIT_NOT_RUN = 126  # as in a shell: found, but cannot be executed


def enter_user_namespace() -> None:
    """Become uid 1000 of a new user namespace; outside it, the process stays uid 0.

    Outside we stay root, so files keep their owner and paths below /root stay reachable, while
    inside the process is an ordinary user without capabilities.

    Raises:
        OSError: where user namespaces are not permitted.
    """
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    for name, text in (
        ("setgroups", "deny"),  # the kernel demands it before gid_map
        ("uid_map", f"{_INSIDE} {uid} 1"),
        ("gid_map", f"{_INSIDE} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123  (pathlib takes 5 ms to import, and this runs at every start)
            file.write(text)


def become(identity: str) -> None:
    """Take an identity: ``same``, ``userns`` or ``UID:GID``.

    Raises:
        OSError: if the system refuses.
    """
    if identity == "userns":
        enter_user_namespace()
    elif identity != "same":
        uid, _, gid = identity.partition(":")
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))


def die_with(parent: int, signum: int) -> None:
    """Have the kernel send us `signum` when the thread that forked us ends (Linux only)."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
    if os.getppid() != parent:  # the parent died before this call
        sys.exit(EXIT_REFUSED)


def main(argv: list[str]) -> None:
    """Take a process group and the identity, bind to the parent, become the command.

    A group, so a Ctrl-C in the terminal reaches the parent alone. Not a session: Linux shares the
    cores out between sessions first (`sched_autogroup_enabled`), so with one for each child a
    console next to them got a tenth of a core.
    """
    (parent, signum, identity), command = argv[:3], argv[4:]
    os.setpgid(0, 0)
    try:
        become(identity)
    except (OSError, AttributeError) as e:  # AttributeError: a libc without unshare
        sys.stderr.write(f"cannot become {identity}: {e}\n")
        sys.exit(EXIT_REFUSED)
    die_with(int(parent), int(signum))  # after the identity: a change of credentials clears it
    try:
        os.execv(command[0], command)  # noqa: S606  (replacing itself is what this module is for)
    except OSError as e:
        sys.stderr.write(f"cannot run {command[0]}: {e}\n")
        sys.exit(EXIT_NOT_RUN)


if __name__ == "__main__":
    main(sys.argv[1:])
