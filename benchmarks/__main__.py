"""Run all benchmarks, write one report, and the README's table from it.

    python -m benchmarks all [--scale small|full] [--only NAME ...] [--into FOLDER] [--minutes M]
    python -m benchmarks readme [--from FOLDER]

`small` shows that everything works; `full` has the documented figures, and writes the README's
table if the report is the committed one. Neither takes longer than its minutes: what has not run
by then is reported as such, and a later `--only` adds it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks.reporting import markdown, readme
from benchmarks.reporting import run as runs
from benchmarks.reporting.plan import MINUTES, PLAN, Scale
from shop.errors import ExitCode

ROOT: Final = Path(__file__).parents[1]
COMMITTED: Final = ROOT / "benchmarks" / "report"


def run_all(scale: Scale, only: list[str], into: Path, minutes: float) -> int:
    """Run the benchmarks of a scale, or some of them; return 1 if one failed."""
    path = into / "report.json"
    last = runs.load(path)
    report = dict(last)
    chosen = [(p, argv) for p in PLAN if (argv := p.argv(scale)) and (not only or p.name in only)]
    failed, began = [], time.monotonic()
    for i, (planned, argv) in enumerate(chosen, start=1):
        print(f"[{i}/{len(chosen)}] {planned.name} ...", end=" ", flush=True)
        left_s = 60 * minutes - (time.monotonic() - began)
        entry = runs.run(planned, scale, argv, last.get(planned.name), left_s)
        report[planned.name] = entry
        report = {p.name: report[p.name] for p in PLAN if p.name in report}
        into.mkdir(parents=True, exist_ok=True)
        found = {name: asdict(each) for name, each in report.items()}
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        markdown.write(report, into)
        print(f"{entry.seconds:,.0f} s{' FAILED: ' + entry.error if entry.error else ''}")
        failed += [planned.name] if entry.error else []
    took = (time.monotonic() - began) / 60
    print(f"{into / 'report.md'}: {len(chosen)} benchmarks in {took:.1f} minutes", end="")
    print(f", failed: {', '.join(failed)}" if failed else "")
    if into.resolve() == COMMITTED:
        write_readme(into)
    return ExitCode.FAILED if failed else ExitCode.OK


def write_readme(folder: Path) -> int:
    """Write the README's table from a report; return 1 if there is none."""
    report = runs.load(folder / "report.json")
    if not report:
        print(f"no report in {folder}: `python -m benchmarks all` writes one", file=sys.stderr)
        return ExitCode.FAILED
    for page in readme.write(report, ROOT):
        print(page)
    return ExitCode.OK


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    every = commands.add_parser("all", help="run the benchmarks and write the report")
    every.add_argument("--scale", choices=("small", "full"), default="small")
    every.add_argument(
        "--only", nargs="+", default=[], choices=[p.name for p in PLAN], metavar="NAME",
        help=f"run these, keep the others' figures: {', '.join(p.name for p in PLAN)}",
    )  # fmt: skip
    every.add_argument(
        "--into", type=Path, help="folder of the report (default: benchmarks/report, of the small"
        " scale build/benchmarks)",
    )  # fmt: skip
    every.add_argument(
        "--minutes", type=float, metavar="M", help="start no benchmark later, and end what runs"
        f" then (default: {MINUTES['small']}, of the full scale {MINUTES['full']})",
    )  # fmt: skip
    page = commands.add_parser("readme", help="write the README's table from the report")
    page.add_argument("--from", dest="folder", type=Path, default=COMMITTED, metavar="FOLDER")
    args = parser.parse_args()
    if args.command == "readme":
        return write_readme(args.folder)
    default = COMMITTED if args.scale == "full" else Path("build", "benchmarks")
    minutes = MINUTES[args.scale] if args.minutes is None else args.minutes
    return run_all(args.scale, args.only, args.into or default, minutes)


if __name__ == "__main__":
    sys.exit(main())
