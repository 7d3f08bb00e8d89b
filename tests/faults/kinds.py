"""The faults of a campaign, at random moments from a seed; see `campaign`."""

from __future__ import annotations

import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from shop.errors import JangteoError
from tests.faults.bystanders import Bystanders, SmallDisk
from tests.faults.clocks import DAY_S, WallClock
from tests.support.fault_stage import Stage, answers, drain_time
from tests.support.ingest_processes import Ingest
from tests.support.network_proxy import Proxy
from tests.support.waiting import wait_until

TAKE_OVER_S = 180.0
"""What would be a violation by far: docs/faults.md states 60 s, and servers take time to start."""


class Restartable(Protocol):
    """A server that can be ended either way and started again."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


class Node(Restartable, Protocol):
    """A broker of a cluster, which serves only when enough of the others are there."""

    def launch(self) -> None: ...
    def await_ready(self) -> None: ...


class Campaign:
    """One run.

    Args:
        stage: processes, load and verdict.
        database: PostgreSQL.
        brokers: of Kafka, to be killed; empty if they are to live.
        seed: of the faults.
        fleet: how many ingest processes there are.
        say: takes a line about each fault.
        proxy: between the members and PostgreSQL; None: there are no faults of the way.
        side: between the bystanders and PostgreSQL.
        cache: Redis, to be killed.
        disk: of the table of orders, to be filled.
        bystanders: whose clocks step, too; None: no clock is moved.
        directory: for the clocks of members.
    """

    def __init__(
        self,
        stage: Stage,
        database: Restartable,
        brokers: list[Node],
        *,
        seed: int,
        fleet: int,
        say: Callable[[str], None],
        proxy: Proxy | None = None,
        side: Proxy | None = None,
        cache: Restartable | None = None,
        disk: SmallDisk | None = None,
        bystanders: Bystanders | None = None,
        directory: Path | None = None,
    ) -> None:
        self._proxy = proxy
        self._ways = [way for way in (proxy, side) if way]
        self._cache = cache
        self._disk = disk
        self._bystanders = bystanders
        self._directory = directory
        self._clocks: dict[int, WallClock] = {}
        self._numbers = itertools.count(1)
        self._turns = itertools.cycle(bystanders.all if bystanders else ())
        self._stage = stage
        self._database = database
        self._brokers = brokers
        self._rng = random.Random(seed)
        self._fleet = fleet
        self._say = say
        self.done: Counter[str] = Counter()
        self.drains: list[float] = []
        self.longest: dict[str, float] = {}
        """Fault -> the longest time after it until every partition advanced, seconds."""

    def run(self, kills: int, *, only_kills: bool = False) -> None:
        """Do faults until that number of members was killed; members that ended are replaced."""
        others = self._others()
        self._replace()
        while self.done["kill"] < kills:
            self._replace()
            self._moment()
            if only_kills or self._rng.random() < 0.7:
                self.kill()
            else:
                self._rng.choice(others)()
        self._replace()

    def run_all(self, faults: int) -> None:
        """Do that number of faults of every kind, shuffled.

        After half of them, time how long it takes until every partition advances; after the other
        half the next one hits while members still join and catch up.
        """
        kinds: list[Callable[[], None]] = []
        self._replace()
        while sum(self.done.values()) < faults:
            if not kinds:
                kinds = [self.kill, *self._others()]
                self._rng.shuffle(kinds)
            self._replace()
            self._moment()
            fault = kinds.pop()
            fault()
            self._replace()
            if self._rng.random() < 0.5:
                took = self._take_over()
                self.longest[fault.__name__] = max(took, self.longest.get(fault.__name__, 0.0))
                self._say(f"     every partition advanced within {took:.1f} s")
        self._replace()

    def _others(self) -> list[Callable[[], None]]:
        found = [self.pause, self.leave, self.restart_postgres, self.kill_postgres, self.hold_lock]
        if self._brokers:
            found += [self.kill_broker, self.kill_brokers]
        if self._proxy:
            found += [self.cut_before_commit, self.cut_after_commit, self.vanish, self.stall,
                      self.delay]  # fmt: skip
        if self._cache:
            found.append(self.kill_redis)
        if self._disk:
            found.append(self.fill_disk)
        if self._bystanders:
            found += [self.clocks_ahead, self.clocks_behind]
        return found

    def _take_over(self) -> float:
        """Wait until every partition has advanced; return the seconds that it took."""
        began = time.monotonic()
        still = self._stage.positions()
        while still:
            if time.monotonic() - began > TAKE_OVER_S:
                raise AssertionError(f"partitions that do not advance: {sorted(still)}")
            time.sleep(0.3)
            now = self._stage.positions()
            still = {p: offset for p, offset in still.items() if now[p] <= offset}
        return time.monotonic() - began

    def _members(self) -> list[Ingest]:
        return [m for m in self._stage.members if m.alive()]

    def _replace(self) -> None:
        for member in self._stage.members:
            code = member.process.poll()
            if code not in (None, 0, -signal.SIGKILL):
                raise JangteoError(f"a member ended with {code}:\n{member.log()[-2000:]}")
        for bystander in self._bystanders.all if self._bystanders else ():
            if ended := bystander.ended():
                raise JangteoError(ended)
        while len(self._members()) < self._fleet:
            by = {"POSTGRES_PORT": str(self._proxy.port)} if self._proxy else {}
            if self._bystanders and self._directory:
                clock = WallClock(self._directory, f"member-{next(self._numbers)}")
                member = self._stage.ingest(**by, **clock.env)
                self._clocks[member.process.pid] = clock
            else:
                self._stage.ingest(**by)

    def _moment(self) -> None:
        """Let a random moment come: while starting and joining, or in the midst of work."""
        if self._rng.random() < 0.3:
            time.sleep(self._rng.uniform(0, 4))
            return
        self._stage.wait_taken(self._rng.randrange(1, 1_500), timeout=120)
        time.sleep(self._rng.uniform(0, 0.3))

    def _note(self, fault: str, text: str = "") -> None:
        self.done[fault] += 1
        self._say(f"{sum(self.done.values()):3d}  {fault}  {text}".rstrip())

    def kill(self) -> None:
        """Kill -9 of a member."""
        member = self._rng.choice(self._members())
        member.kill()
        self._note("kill", f"pid {member.process.pid}")

    def pause(self) -> None:
        """SIGSTOP of a member, sometimes past its session, then SIGCONT."""
        member = self._rng.choice(self._members())
        seconds = self._rng.choice([1.0, 8.0])
        member.signal(signal.SIGSTOP)
        time.sleep(seconds)
        member.signal(signal.SIGCONT)
        self._note("pause", f"pid {member.process.pid} for {seconds:g} s")

    def leave(self) -> None:
        """SIGTERM of a member that answers; one at its imports just ends, with -15."""
        wait_until(lambda: any(answers(m) for m in self._members()), "a member has begun")
        took = drain_time(self._rng.choice([m for m in self._members() if answers(m)]))
        self.drains.append(took)
        self._note("leave", f"drained in {took:.2f} s")

    def restart_postgres(self) -> None:
        """Fast shutdown and start."""
        self._database.stop()
        self._database.start()
        self._note("restart_postgres")

    def kill_postgres(self) -> None:
        """Kill -9 of the postmaster, some seconds away, crash recovery."""
        seconds = self._rng.uniform(0, 5)
        self._database.kill()
        time.sleep(seconds)
        self._database.start()
        self._note("kill_postgres", f"away for {seconds:.1f} s")

    def hold_lock(self) -> None:
        """The row of a popular product locked for some seconds."""
        seconds = self._rng.uniform(0.5, 4)
        with self._stage.reading() as conn, conn.transaction():
            conn.execute("SELECT 1 FROM products ORDER BY order_count DESC LIMIT 1 FOR UPDATE")
            time.sleep(seconds)
        self._note("hold_lock", f"{seconds:.1f} s")

    def kill_broker(self) -> None:
        """Kill -9 of one broker, some seconds away, back."""
        number = self._rng.randrange(len(self._brokers))
        self._brokers[number].kill()
        time.sleep(self._rng.uniform(0, 5))
        self._brokers[number].start()
        self._note("kill_broker", f"broker {number + 1}")

    def kill_brokers(self) -> None:
        """Kill -9 of all brokers, one soon after the other, and back in another order."""
        order = list(self._brokers)
        self._rng.shuffle(order)
        for broker in order:
            broker.kill()
            time.sleep(self._rng.uniform(0, 1))
        self._rng.shuffle(order)
        for broker in order:
            broker.launch()
        for broker in order:
            broker.await_ready()
        self._note("kill_brokers", f"all {len(order)}")

    def _cut(self, where: str) -> None:
        assert self._proxy is not None
        setattr(self._proxy, where, self._rng.randrange(1, 4))
        wait_until(lambda: getattr(self._proxy, where) == 0, f"{where}: all cut", 120)

    def cut_before_commit(self) -> None:
        """The connection breaks before a COMMIT arrives, up to three times."""
        self._cut("cut_before")
        self._note("cut_before_commit")

    def cut_after_commit(self) -> None:
        """The connection breaks before the answer to a COMMIT arrives, up to three times."""
        self._cut("cut_after")
        self._note("cut_after_commit")

    def vanish(self) -> None:
        """A member's host dies inside a transaction: PostgreSQL does not notice."""
        assert self._proxy is not None
        self._proxy.hold_after = self._rng.choice([b"FOR UPDATE", b"COPY "])
        wait_until(lambda: self._proxy is not None and self._proxy.holds, "a transaction", 120)
        self._rng.choice(self._members()).kill()
        links = self._proxy.vanish()
        self._proxy.hold_after, self._proxy.holds = b"", False
        self._note("vanish", f"{links} connections half-open")

    def stall(self) -> None:
        """Nothing passes for some seconds, sometimes for longer than a connection is kept."""
        seconds = self._rng.choice([3.0, 12.0, 50.0])
        self._set("stalled", True)
        time.sleep(seconds)
        self._set("stalled", False)
        self._note("stall", f"for {seconds:g} s")

    def delay(self) -> None:
        """Every packet takes long for some seconds."""
        seconds = self._rng.uniform(0.01, 0.3)
        self._set("delay", seconds)
        time.sleep(self._rng.uniform(2, 8))
        self._set("delay", 0.0)
        self._note("delay", f"{seconds * 1000:.0f} ms a packet")

    def _set(self, name: str, value: object) -> None:
        for way in self._ways:
            setattr(way, name, value)

    def kill_redis(self) -> None:
        """Kill -9, some seconds away, back with an empty cache."""
        assert self._cache is not None
        seconds = self._rng.uniform(0, 5)
        self._cache.kill()
        time.sleep(seconds)
        self._cache.start()
        self._note("kill_redis", f"away for {seconds:.1f} s")

    def fill_disk(self) -> None:
        """The disk with the table of orders is full until an ingest says so, and for some time."""
        assert self._disk is not None
        words = "No space left on device"
        said = sum(m.log().count(words) for m in self._stage.members)
        seconds = self._rng.uniform(0, 5)
        with self._disk.full():
            wait_until(
                lambda: sum(m.log().count(words) for m in self._stage.members) > said, words, 120
            )
            time.sleep(seconds)
        self._note("fill_disk", f"for {seconds:.1f} s after it was noticed")

    def clocks_ahead(self) -> None:
        """The wall clocks of a member and of another process step forward."""
        self._step(1)

    def clocks_behind(self) -> None:
        """The wall clocks of a member and of another process step back."""
        self._step(-1)

    def _step(self, sign: int) -> None:
        seconds = sign * self._rng.choice([30, 3_700, DAY_S + 3_600, 400 * DAY_S])
        member = self._rng.choice(self._members())
        bystander = next(self._turns)
        self._clocks[member.process.pid].set(seconds)
        bystander.clock.set(seconds)
        name = "clocks_ahead" if sign > 0 else "clocks_behind"
        self._note(name, f"{seconds:+,} s: pid {member.process.pid} and the {bystander.kind}")
