"""Files on disk: trusted only if they belong to this user, and written for this user alone.

The content of a file may decide where passwords go and which processes get a signal. So a file that
is found, and not named on the command line, must belong to this user, must not be writable (or, if
it holds secrets, readable) by others, must be a regular file and not a symbolic link, and must be
in directories in which no other user can replace it. These are ssh's rules for its keys, with the
sticky bit of /tmp respected.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 1 << 20
"""Largest file that is read, bytes; a stack file has about 1 KB."""
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_READ: Final = stat.S_IRGRP | stat.S_IROTH


class UntrustedFileError(OSError):
    """Another user could have written a file or directory; the message names it and the reason."""


def read_own(path: Path, *, secret: bool = False, limit: int = MAX_BYTES) -> bytes:
    """Return the content of a file that no other user can have written.

    Args:
        path: the file.
        secret: refuse a file that others may read, too.
        limit: size in bytes above which a file is refused.

    Raises:
        FileNotFoundError: if there is none.
        UntrustedFileError: says why the file is not trusted.
        OSError: if it cannot be read.
    """
    with os.fdopen(open_to_read(path, secret=secret), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise UntrustedFileError(f"{path} is larger than {limit} bytes")
    return data


def open_to_read(path: Path, *, secret: bool = False) -> int:
    """Open a file that no other user can have written; return the descriptor.

    Args:
        path: the file.
        secret: refuse a file that others may read, too.

    Raises:
        FileNotFoundError: if there is none.
        UntrustedFileError: says why the file is not trusted.
        OSError: if it cannot be opened.
    """
    check_folder(path.parent)
    # Without O_NONBLOCK, open() of a FIFO would block for ever.
    descriptor = _open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _check_file(path, os.fstat(descriptor), _OTHERS_WRITE | (_OTHERS_READ if secret else 0))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as e:
        if path.is_symlink():
            raise UntrustedFileError(f"{path} is a symbolic link") from None
        raise e from None


def check_folder(folder: Path) -> None:
    """Refuse a directory in which another user could put a file.

    Args:
        folder: must belong to this user. The directories above it may also belong to root, and may
            be writable by others if the sticky bit keeps these from replacing our entries.

    Raises:
        FileNotFoundError: if there is none.
        UntrustedFileError: if another user could write there; the message says why.
    """
    link = folder.lstat()
    if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid()):
        raise UntrustedFileError(f"{folder} is a symbolic link that another user made")
    real = folder.resolve()
    found = real.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise UntrustedFileError(f"{folder} is not a directory")
    if found.st_uid != os.geteuid():
        raise UntrustedFileError(f"{folder} belongs to another user (uid {found.st_uid})")
    if _others_write(found):
        raise UntrustedFileError(f"{folder} can be written by other users (chmod go-w it)")
    for above in real.parents:
        found = above.stat()
        if found.st_uid not in (0, os.geteuid()):
            raise UntrustedFileError(f"{above}, above {folder}, belongs to uid {found.st_uid}")
        if _others_write(found) and not found.st_mode & stat.S_ISVTX:
            raise UntrustedFileError(f"{above}, above {folder}, can be written by other users")


def _others_write(found: os.stat_result) -> bool:
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and not _private_group(found.st_gid)


def _private_group(gid: int) -> bool:
    """Return whether a group has only this user: with a group per user, umask 002 is usual."""
    import grp  # noqa: PLC0415  (only for directories that a group may write)
    import pwd  # noqa: PLC0415  (as grp)

    try:
        me = pwd.getpwuid(os.geteuid())
        group = grp.getgrgid(gid)
    except KeyError:
        return False
    return gid == me.pw_gid and group.gr_name == me.pw_name and set(group.gr_mem) <= {me.pw_name}


def _check_file(path: Path, found: os.stat_result, forbidden: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UntrustedFileError(f"{path} is not a regular file")
    if found.st_uid != os.geteuid():
        raise UntrustedFileError(f"{path} belongs to another user (uid {found.st_uid})")
    if found.st_mode & forbidden:
        raise UntrustedFileError(
            f"{path} is open to other users (mode {stat.S_IMODE(found.st_mode):03o})"
        )


def make_folder(folder: Path) -> None:
    """Create a directory, and those above it, that only this user may enter.

    Raises:
        OSError: if it cannot be created.
    """
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)


def open_own(path: Path, flags: int) -> int:
    """Open a file to write to it, readable by this user only, created if it is missing.

    Args:
        path: its directory is created, too.
        flags: of `os.open`, in addition to O_CREAT, O_NOFOLLOW and O_CLOEXEC.

    Returns:
        The descriptor; the caller closes it.

    Raises:
        UntrustedFileError: if the file belongs to another user, or is not a regular file.
        OSError: if it cannot be opened.
    """
    make_folder(path.parent)
    descriptor = _open(path, flags & ~os.O_TRUNC | os.O_CREAT | os.O_NONBLOCK)
    try:
        _check_file(path, os.fstat(descriptor), 0)
        if flags & os.O_TRUNC:  # only after the check: never another user's file
            os.ftruncate(descriptor, 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def write_private(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace a file in one step, readable by this user only unless `mode` lets others.

    Raises:
        UntrustedFileError: if the file there belongs to another user, or is not a regular file.
        OSError: if it cannot be written; the former file is kept.
    """
    make_folder(path.parent)
    with contextlib.suppress(FileNotFoundError):
        _check_file(path, path.lstat(), 0)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with replacing(path) as temporary:
        descriptor = os.open(temporary, flags, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)


@contextlib.contextmanager
def replacing(path: Path, temporary: Path | None = None) -> Iterator[Path]:
    """Yield the path of a temporary file; what is written there replaces a file in one step.

    After an exception, the file is as it was and the temporary one is removed.

    Args:
        path: the file.
        temporary: path in the same directory; by default a unique name, so that two writers do not
            disturb each other. A fixed one is overwritten after a crash.
    """
    temporary = temporary or path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
