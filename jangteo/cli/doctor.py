"""Check Python, servers, topics, schema, stack and disk, and name what to fix."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Final

import msgspec

from jangteo.cli import doctor_probes
from jangteo.cli.doctor_probes import Finding
from shop import command
from shop.errors import ExitCode
from shop.output import say
from shop.settings import Settings

_MARKS: Final = {"ok": "ok", "wrong": "!!", "unreachable": "??"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `jangteo doctor`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the report; return 0 if all is well, 1 if something is wrong, 3 if unreachable."""
    findings = examine(settings)
    code = verdict(findings)
    if args.json:
        report = {"ok": code == ExitCode.OK, "findings": [asdict(f) for f in findings]}
        say(msgspec.json.encode(report).decode())
    else:
        say(as_text(findings))
    return code


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; the servers at the same time, so that three outages take as one."""
    servers = (doctor_probes.postgresql, doctor_probes.redis_cache, doctor_probes.kafka_cluster)
    with ThreadPoolExecutor(len(servers)) as pool:
        asked = [pool.submit(probe, settings) for probe in servers]
        found = [
            *doctor_probes.python(),
            *doctor_probes.stack(settings),
            *doctor_probes.disk(settings),
        ]
        for answer in asked:
            found += answer.result()
    return found


def verdict(findings: Sequence[Finding]) -> ExitCode:
    """Return the exit code that findings amount to.

    >>> verdict([doctor_probes.ok("disk", "large")]).name
    'OK'
    """
    levels = {f.level for f in findings}
    if "unreachable" in levels:
        return ExitCode.UNREACHABLE
    return ExitCode.FAILED if "wrong" in levels else ExitCode.OK


def as_text(findings: Sequence[Finding]) -> str:
    """Return the report: a line for each finding, then what to do.

    >>> print(as_text([doctor_probes.wrong("disk", "full", "make room")]))
    !! disk  full
    <BLANKLINE>
    What to do:
      disk: make room
    """
    width = max(len(f.subject) for f in findings)
    lines = [f"{_MARKS[f.level]} {f.subject:<{width}}  {f.text}" for f in findings]
    todo = dict.fromkeys(f"  {f.subject.strip()}: {f.advice}" for f in findings if f.advice)
    return "\n".join([*lines, "", *(["What to do:", *todo] if todo else ["All is well."])])


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m jangteo.cli.doctor", description=__doc__))
