"""Files of another user are not trusted, and our files cannot be read by others."""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path

import pytest

from console.recording.recorder import Recorder
from generators.faults.ledger import FaultLedger
from jangteo.stack import spawn, supervisor
from jangteo.stack.servers import end_leftovers, held
from shop import private_files, process_status
from shop import settings as shop_settings
from shop.clock import UTC
from shop.errors import UnreachableError, UsageError
from shop.private_files import UntrustedFileError
from shop.settings import stack_file
from shop.settings.stack_file import RunningStack
from tests.support import python_process

NOBODY = 65_534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as a second user")
HOSTILE = {
    "POSTGRES_HOST": "stranger.example",
    "KAFKA_BOOTSTRAP_SERVERS": "stranger.example:9092",
    "REDIS_URL": "redis://stranger.example",
}


@pytest.fixture(autouse=True)
def private_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory like /tmp: everybody may write, nobody may replace what is another's."""
    with tempfile.TemporaryDirectory(prefix="jangteo-shared-") as name:
        Path(name).chmod(0o1777)
        yield Path(name)


def _published(data_dir: Path, **env: str) -> Path:
    """Write the stack file of a stack that runs: this very process."""
    process = supervisor.process_started(os.getpid())
    assert process is not None
    private_files.make_folder(data_dir)
    now = datetime.now(UTC).isoformat()
    stack_file.publish(RunningStack(data_dir, os.getpid(), process, now, env or HOSTILE))
    return data_dir / stack_file.STACK_FILE


def _as_nobody(act: Callable[[], None]) -> None:
    """Do something as another user."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            act()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _spoil_mode(mode: int) -> Callable[[Path], None]:
    return lambda path: path.chmod(mode)


def _spoil_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere.json"))
    path.symlink_to("elsewhere.json")


def _spoil_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def _spoil_size(path: Path) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(" " * private_files.MAX_BYTES)


def _spoil_folder(path: Path) -> None:
    path.parent.chmod(0o777)


def _spoil_above(path: Path) -> None:
    path.parent.parent.chmod(0o777)  # without the sticky bit


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        *((_spoil_mode(mode), "open to other users") for mode in (0o640, 0o604, 0o620, 0o602)),
        (_spoil_link, "symbolic link"),
        (_spoil_fifo, "not a regular file"),
        (_spoil_size, "larger than"),
        (_spoil_folder, "can be written by other users"),
        (_spoil_above, "can be written by other users"),
    ],
)
def test_a_stack_file_that_others_may_have_written_or_read_is_not_believed(
    spoil: Callable[[Path], None], why: str, tmp_path: Path
) -> None:
    path = _published(tmp_path / "shop/.jangteo")
    assert stack_file.find_stack(path.parent), "believed until it is spoilt"
    spoil(path)
    doubts: list[str] = []
    assert stack_file.find_stack(path.parent, doubts) is None
    assert why in " ".join(doubts)
    with pytest.raises(UnreachableError, match=f"not trusted: .*{why}") as e:
        _ = shop_settings.load({}, data_dir=path.parent).postgres
    assert "\n" not in str(e.value)


@root_only
@pytest.mark.parametrize("which", ["file", "folder", "above"])
def test_the_stack_file_of_another_user_is_not_believed(which: str, tmp_path: Path) -> None:
    path = _published(tmp_path / "shop/.jangteo")
    os.chown({"file": path, "folder": path.parent, "above": path.parents[1]}[which], NOBODY, NOBODY)
    doubts: list[str] = []
    assert stack_file.find_stack(path.parent, doubts) is None
    assert str(NOBODY) in " ".join(doubts)


@root_only
def test_a_second_user_above_the_working_directory_gets_nothing(
    shared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours = json.loads(_published(tmp_path / "ours").read_text())
    stack_file.withdraw(tmp_path / "ours")
    lure = {**ours, "env": {**HOSTILE, "POSTGRES_PASSWORD": "x'; touch owned; '", "X;id": "$(id)"}}

    def plant() -> None:
        folder = shared / ".jangteo"
        folder.mkdir()
        (folder / "stack.json").write_text(json.dumps(lure))
        (folder / "processes.json").write_text(json.dumps(_processes()))

    _as_nobody(plant)
    (shared / "work").mkdir()
    monkeypatch.chdir(shared / "work")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "POSTGRES_PASSWORD": "of-ours"}
    for words in (["env"], ["env", "--format", "dbt"], ["init"], ["seed"]):
        done = python_process.run(
            [sys.executable, "-m", "jangteo", *words], env=env, capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 3, done
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert "stranger" not in done.stderr
        assert f"belongs to another user (uid {NOBODY})" in done.stderr
    assert process_status.read_snapshot(shared / ".jangteo") == []
    assert end_leftovers(shared / ".jangteo") == []


def _processes() -> dict[str, object]:
    """A snapshot that would have this very process ended."""
    status = supervisor.ProcessStatus(
        "x", os.getpid(), supervisor.process_started(os.getpid()), "running", 0, None, None
    )
    return {"at": "", "processes": [vars(status)]}


@root_only
def test_files_of_root_are_believed_by_root_alone(shared: Path) -> None:
    path = _published(shared / ".jangteo", POSTGRES_HOST="db")
    path.parent.chmod(0o755)
    path.chmod(0o644)

    def find() -> None:
        doubts: list[str] = []
        assert stack_file.find_stack(path.parent, doubts) is None
        assert doubts

    _as_nobody(find)
    path.chmod(0o600)
    assert stack_file.find_stack(path.parent), "a sticky directory above is no harm"


@root_only
def test_a_trap_in_a_data_directory_is_not_stepped_on(shared: Path, tmp_path: Path) -> None:
    """`jangteo up` where another user made `.jangteo` with links to our files."""
    (victim := tmp_path / "victim").write_text("precious")
    (shared / "d").mkdir()
    os.chown(shared / "d", NOBODY, NOBODY)
    for name in ("lock", "stack.json", "processes.json"):
        (shared / "d" / name).symlink_to(victim)
    with pytest.raises(UsageError, match="another user"), held(shared / "d"):
        pytest.fail("held")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    "env",
    [
        {"LD_PRELOAD": "/tmp/x.so"},
        {"PATH": "/tmp"},
        {"KAFKA_X;touch /tmp/x": "1"},
        {"KAFKA_\n": "1"},
        {"POSTGRES_HOST": "a b"},
        {"POSTGRES_HOST": "$(touch x)"},
        {"KAFKA_BOOTSTRAP_SERVERS": "k:1\nexport X=1"},
        {"POSTGRES_PORT": "54x"},
        {"POSTGRES_PASSWORD": 7},
        {"POSTGRES_PASSWORD": ["x"]},
    ],
)
def test_a_stack_file_with_what_no_stack_has_is_not_believed(
    env: dict[str, object], tmp_path: Path
) -> None:
    path = _published(tmp_path / "d", POSTGRES_HOST="db")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "env": {**record["env"], **env}}))
    doubts: list[str] = []
    assert stack_file.find_stack(path.parent, doubts) is None
    assert len(doubts) == 1


# -- what we write -------------------------------------------------------------------------------

WRITERS: dict[str, Callable[[Path], object]] = {
    "private": lambda path: private_files.write_private(path, "new"),
    "recording": lambda path: Recorder(path).close(),
    "ledger": lambda path: FaultLedger(path).close(),
    "log": lambda path: spawn.spawn(["/bin/echo"], log=path, env={}).wait(),
}


def _refused(name: str, why: str) -> AbstractContextManager[object]:
    """A process starts without a log that is not ours; the others say why they do not write."""
    refusal = pytest.raises((UntrustedFileError, UsageError), match=why)
    return nullcontext() if name == "log" else refusal


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_is_private_under_any_umask(name: str, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        WRITERS[name](tmp_path / "a" / "b" / "file")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a/b/file").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_is_written_through_a_link(name: str, tmp_path: Path) -> None:
    (victim := tmp_path / "victim").write_text("precious")
    (tmp_path / "file").symlink_to(victim)
    with _refused(name, r"link|regular"):
        WRITERS[name](tmp_path / "file")
    assert victim.read_text() == "precious"


@root_only
@pytest.mark.parametrize("name", WRITERS)
def test_the_file_of_another_user_is_not_overwritten(name: str, shared: Path) -> None:
    def plant() -> None:
        (shared / "file").write_text("theirs")
        (shared / "file").chmod(0o666)

    _as_nobody(plant)
    with _refused(name, "another user"):
        WRITERS[name](shared / "file")
    assert (shared / "file").read_text() == "theirs"


def test_a_failed_write_leaves_the_former_file_and_no_other(tmp_path: Path) -> None:
    private_files.write_private(tmp_path / "f", "old")
    with pytest.raises(UnicodeEncodeError):
        private_files.write_private(tmp_path / "f", "\ud800")
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["f"]
    assert (tmp_path / "f").read_text() == "old"
