"""Notifications: what is notified and when, and that they reach a real command and server."""

from __future__ import annotations

import argparse
import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from console.alerts import options
from console.alerts.conditions import judge
from console.alerts.notifier import Notifier, codes
from console.alerts.options import AlertOptions
from console.alerts.sending import AlertSender, as_fields
from console.alerts.tracker import Alert, AlertState, AlertTracker, waits
from console.poller import Poller
from console.snapshot.model import EventKind, Lag, Snapshot
from console.snapshot.reading import ReadingState
from console.sources import CurrentSettings
from shop.errors import UsageError
from shop.settings import load
from shop.settings.notify import KINDS
from tests.console import console_samples as samples
from tests.console.test_poller import NoEvents
from tests.support.waiting import wait_until

ALL = waits((), 10.0)
NASTY = "\x1b]0;owned\x07$(touch /tmp/owned) `id` \n'; rm -rf / #\x00 한글"


def after(tracker: AlertTracker, snapshot: Snapshot, *seconds: float) -> list[tuple[str, str, str]]:
    """Show one snapshot at several times; return the notifications."""
    found = [a for s in seconds for a in tracker.update(snapshot, s)]
    return [(a.state.value, a.kind, a.subject) for a in found]


def lagging(verdict: Lag) -> Snapshot:
    snapshot = samples.well()
    view = snapshot.kafka.value
    topics = tuple(
        msgspec.structs.replace(t, verdict=verdict, lag=70) if t.name == "orders" else t
        for t in view.topics
    )
    return msgspec.structs.replace(
        snapshot, kafka=samples.ok(msgspec.structs.replace(view, topics=topics))
    )


def test_a_well_shop_has_no_condition_and_nothing_unknown() -> None:
    judgement = judge(samples.well())
    assert not judgement.found
    assert not judgement.kinds


def test_a_condition_is_notified_once_after_it_held_and_once_when_it_is_over() -> None:
    tracker = AlertTracker(ALL)
    bad, well = lagging(Lag.STOP), samples.well()
    assert after(tracker, bad, 0, 5, 9.9) == []
    assert after(tracker, bad, 10, 11, 500) == [("firing", "lag", "orders_group")]
    assert tracker.firing == 1
    assert after(tracker, well, 501, 505) == [], "recovery must hold as well"
    assert after(tracker, bad, 506, 507) == [], "it came back: the same condition"
    assert after(tracker, well, 510, 519) == []
    assert after(tracker, well, 520, 600) == [("resolved", "lag", "orders_group")]
    assert tracker.firing == 0


def test_what_lasts_for_a_moment_is_not_notified() -> None:
    tracker = AlertTracker(ALL)
    for n in range(0, 100, 5):
        assert after(tracker, lagging(Lag.STOP) if n % 2 else samples.well(), n) == []


def test_what_gets_worse_is_notified_again_and_once() -> None:
    tracker = AlertTracker(ALL)
    assert after(tracker, lagging(Lag.WARN), 0, 10) == [("firing", "lag", "orders_group")]
    assert after(tracker, lagging(Lag.STOP), 11, 12) == [("firing", "lag", "orders_group")]
    assert after(tracker, lagging(Lag.WARN), 13, 14) == []


@pytest.mark.parametrize("silence", [samples.kafka_down(), samples.all_down()])
def test_a_server_that_goes_away_is_no_recovery_of_what_it_showed(silence: Snapshot) -> None:
    tracker = AlertTracker(ALL)
    after(tracker, lagging(Lag.STOP), 0, 10)
    found = after(tracker, silence, 20, 31, 90)
    assert ("firing", "server", "kafka") in found
    assert not [f for f in found if f[0] == "resolved"]
    assert ("resolved", "lag", "orders_group") in after(tracker, samples.well(), 91, 120)


@pytest.mark.parametrize("state", [ReadingState.STALE, ReadingState.LOADING])
def test_a_server_that_may_be_away_neither_fires_nor_resolves(state: ReadingState) -> None:
    s = samples.well()
    maybe = msgspec.structs.replace(
        s, postgres=samples.failing(s.postgres, state, "no answer", since=1)
    )
    tracker = AlertTracker(ALL)
    assert after(tracker, maybe, 0, 100) == []
    down = msgspec.structs.replace(
        s, postgres=samples.failing(s.postgres, ReadingState.DOWN, "no answer", since=9)
    )
    assert after(tracker, down, 100, 110) == [("firing", "server", "postgres")]
    assert after(tracker, maybe, 120, 200) == []


def test_kinds_have_times_of_their_own_and_others_are_left_out() -> None:
    tracker = AlertTracker(waits((("lag", 60.0), ("cache", None)), 5.0))
    assert after(tracker, lagging(Lag.STOP), 0, 59) == []
    assert after(tracker, lagging(Lag.STOP), 60) == [("firing", "lag", "orders_group")]
    assert not [f for f in after(tracker, samples.all_down(), 70, 200) if f[1] == "server"]


def alert(text: str = NASTY, state: AlertState = AlertState.FIRING) -> Alert:
    return Alert(state=state, kind="process", subject=text, level="error", text=text,
                 since=samples.NOW, at=samples.NOW + timedelta(seconds=10))  # fmt: skip


@contextmanager
def webhook(*answers: int) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A real server that answers with these codes in turn, then with the last."""
    got: list[dict[str, str]] = []
    codes_ = list(answers)

    class HookHandler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            code = codes_.pop(0) if len(codes_) > 1 else codes_[0]
            got.append({**json.loads(body), "type": self.headers["Content-Type"]})
            self.send_response(code)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), HookHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook?token=s3cret", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


SCRIPT = """
import json, os, sys
into, given = sys.argv[1], {k: v for k, v in os.environ.items() if k.startswith("JANGTEO_ALERT_")}
with open(into, "a") as f:
    f.write(json.dumps([given, json.load(sys.stdin), sys.argv[2:]]) + "\\n")
"""


def test_a_command_gets_values_that_are_only_data(tmp_path: Path) -> None:
    into, failed = tmp_path / "out", list[str]()
    command = [sys.executable, "-c", SCRIPT, str(into)]
    sender = AlertSender(command, "", lambda way, why: failed.append(why))
    sender.send(alert())
    wait_until(lambda: into.is_file() and into.read_text().endswith("\n"), "the command")
    sender.close()
    env, body, argv = json.loads(into.read_text())
    assert argv == [], "nothing from outside is an argument"
    assert env["JANGTEO_ALERT_TEXT"] == body["text"] == as_fields(alert())["text"]
    assert "$(touch /tmp/owned)" in body["text"], "text, as it was"
    assert not [c for c in body["text"] if ord(c) < 32 or ord(c) == 127]
    assert body["state"] == "firing"
    assert body["since"] == "2026-11-23T03:03:41+00:00"
    assert not failed


def test_a_webhook_is_posted_to_and_tried_again() -> None:
    failed: list[tuple[str, str]] = []
    with webhook(503, 200) as (address, got):
        sender = AlertSender((), address, lambda *why: failed.append(why), pause=0.01)
        sender.send(alert(state=AlertState.RESOLVED))
        wait_until(lambda: len(got) == 2, "the second attempt")
        sender.close()
    assert got[1]["type"] == "application/json"
    assert got[1]["state"] == "resolved"
    assert got[1]["text"].startswith("in order again: ")
    assert not failed


@pytest.mark.parametrize("code", [302, 404])
def test_a_webhook_that_refuses_is_reported_without_its_secret(code: int) -> None:
    failed: list[tuple[str, str]] = []
    with webhook(code) as (address, got):
        sender = AlertSender((), address, lambda *why: failed.append(why), pause=0.01)
        sender.send(alert())
        wait_until(lambda: bool(failed), "the failure")
        sender.close()
        assert len(got) == 1, "neither followed nor repeated"
    assert failed[0][0] == "webhook"
    assert str(code) in failed[0][1]
    assert "s3cret" not in str(failed)


@pytest.mark.parametrize(
    "command", [["/nowhere/at-all"], [sys.executable, "-c", "raise SystemExit(3)"]]
)
def test_a_command_that_fails_is_reported(command: list[str]) -> None:
    failed: list[tuple[str, str]] = []
    sender = AlertSender(command, "", lambda *why: failed.append(why), pause=0.01)
    sender.send(alert())
    wait_until(lambda: bool(failed), "the failure")
    sender.close()
    assert failed[0][0] == "command"


def test_a_hanging_command_delays_nobody_and_the_queue_is_bounded(tmp_path: Path) -> None:
    failed: list[tuple[str, str]] = []
    hang = [sys.executable, "-c", "import time; time.sleep(60)"]
    sender = AlertSender(hang, "", lambda *why: failed.append(why))
    for _ in range(150):
        sender.send(alert())
    assert failed, "those that did not fit are reported"
    assert {way for way, _ in failed} == {"command"}
    sender.close(patience=0.0)


def test_a_webhook_that_hangs_delays_no_command(tmp_path: Path) -> None:
    told = tmp_path / "told"
    write = [sys.executable, "-c", f"open({str(told)!r}, 'a').write('told\\n')"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        sender = AlertSender(write, address, lambda *_: None)
        for number in (1, 2):
            sender.send(alert())
            wait_until(lambda n=number: told.exists() and told.read_text() == n * "told\n", "told")
        sender.close(patience=0.0)


@pytest.mark.parametrize("tmux", [False, True])
def test_a_terminal_gets_its_own_codes_and_nothing_else(tmux: bool) -> None:
    text = codes(alert(), ("osc9", "bell"), "en", tmux=tmux)
    start = "\x1bPtmux;\x1b\x1b]9;Jangteo firing: " if tmux else "\x1b]9;Jangteo firing: "
    end = "\a\x1b\\\a" if tmux else "\a\a"
    assert text.startswith(start)
    assert text.endswith(end)
    inner = text[len(start) : -len(end)]
    assert "\x1b" not in inner
    assert "\a" not in inner
    assert codes(alert(), ("bell",), "en", tmux=False) == "\a"


def idle_poller() -> Poller:
    return Poller([], NoEvents(), CurrentSettings(load({}, use_stack=False), follow=False))


def test_a_notification_is_in_the_log_and_on_the_terminal_in_the_language_of_the_screen() -> None:
    source, seen, now = idle_poller(), list[str](), [0.0]
    chosen = AlertOptions(("osc9",), (), "", ALL)
    notifier = Notifier(chosen, source, lang="ko", terminal=seen.append, monotonic=lambda: now[0])
    for now[0] in (0.0, 10.0, 11.0):
        notifier.take(lagging(Lag.STOP))
    assert len(seen) == 1
    assert "랙 70건: 중단" in seen[0]
    event = source.wait_until_read(0).events[-1]
    assert (event.kind, event.level, event.source) == (EventKind.CONSOLE, "error", "alert")
    notifier.close()


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    options.configure(parser)
    return parser.parse_args(words)


def test_options_come_before_the_environment() -> None:
    env = load(
        {
            "CONSOLE_NOTIFY": "bell",
            "CONSOLE_NOTIFY_COMMAND": "notify-send 'a shop'",
            "CONSOLE_NOTIFY_ON": "server, lag:60",
        },
        use_stack=False,
    )
    chosen = options.read(arguments("--notify", "osc9", "--notify-after", "3"), env)
    assert chosen.ways == ("osc9",)
    assert chosen.command == ("notify-send", "a shop")
    assert chosen.after == {"server": 3.0, "lag": 60.0}
    nobody = options.read(arguments(), load({}, use_stack=False))
    assert not nobody.any
    assert set(nobody.after) == set(KINDS)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--notify", "smoke"), "CONSOLE_NOTIFY='smoke': expected any of bell, osc9"),
        (("--notify-webhook", "file:///etc/passwd"), "CONSOLE_NOTIFY_WEBHOOK"),
        (("--notify-webhook", "http://"), "an http or https URL"),
        (("--notify-on", "lag:soon"), "CONSOLE_NOTIFY_ON"),
        (("--notify-on", "weather"), "server, lag"),
        (("--notify-after", "-1"), "CONSOLE_NOTIFY_AFTER"),
        (("--notify-command", "sh -c 'x"), "CONSOLE_NOTIFY_COMMAND"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError, match="CONSOLE_NOTIFY") as e:
        options.read(arguments(*words), load({}, use_stack=False))
    assert says in str(e.value)
    assert "\n" not in str(e.value)
