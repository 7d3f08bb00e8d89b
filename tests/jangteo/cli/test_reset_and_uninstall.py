"""What `jangteo reset` and `jangteo uninstall` delete, and what they must not touch."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from jangteo.cli.main import main
from jangteo.stack.servers import held


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with something of everything in it, and nothing running."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "shop"
    for path in ("postgres/data/base/1", "redis/redis.conf", "kafka/data/orders-0/log", "logs/x"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x" * 5000)
    (folder / "postgres" / "password").write_text("secret")
    (folder / "ports.json").write_text("{}")
    (folder / "processes.json").write_text('{"processes": []}')
    folder.chmod(0o700)
    return folder


def test_a_reset_deletes_the_data_and_keeps_ports_and_passwords(shop: Path) -> None:
    assert main(["reset", "--yes", "--data-dir", str(shop)]) == 0
    left = sorted(str(p.relative_to(shop)) for p in shop.rglob("*") if p.is_file())
    assert left == ["lock", "ports.json", "postgres/password"]


def test_a_reset_needs_a_person_or_yes(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reset", "--data-dir", str(shop)]) == 2
    assert "add --yes" in capsys.readouterr().err
    assert (shop / "postgres/data/base/1").exists()


def test_a_shop_that_runs_is_not_reset(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with held(shop):
        assert main(["reset", "--yes", "--data-dir", str(shop)]) == 2
        assert main(["uninstall", "--yes", "--data-dir", str(shop)]) == 2
    assert "is held by process" in capsys.readouterr().err
    assert (shop / "postgres/data/base/1").exists()


@pytest.mark.parametrize("command", ["reset", "uninstall"])
def test_a_folder_that_is_no_shop_is_left_alone(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main([command, "--yes", "--data-dir", str(tmp_path)]) == 2
    assert "holds no shop" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").exists()


def test_a_link_is_deleted_and_not_what_it_leads_to(shop: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("x")
    (shop / "link").symlink_to(elsewhere)
    assert main(["reset", "--yes", "--data-dir", str(shop)]) == 0
    assert (elsewhere / "kept").exists()
    assert not (shop / "link").is_symlink()


def test_uninstall_lists_what_is_where_and_removes_only_with_yes(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jars = tmp_path / "cache" / "jangteo"
    jars.mkdir(parents=True)
    assert main(["uninstall", "--what", "--data-dir", str(shop)]) == 0
    listed = capsys.readouterr().out
    assert str(shop) in listed
    assert str(jars) in listed
    assert "kB" in listed
    assert shop.exists()
    assert main(["uninstall", "--yes", "--data-dir", str(shop)]) == 0
    assert not shop.exists()
    assert not jars.exists()


def test_what_cannot_be_deleted_is_named(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path / "base"))

    monkeypatch.setattr(shutil, "rmtree", refused)
    assert main(["reset", "--yes", "--data-dir", str(shop)]) == 1
    said = capsys.readouterr().err
    assert "Operation not permitted" in said
    assert "run the same command again" in said
