"""Run all benchmarks and write one report.

    python -m benchmarks all [--scale small|full] [--only NAME ...] [--into FOLDER]

`small` takes at most 10 minutes and shows that everything works; `full` has the documented figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.reporting import markdown
from benchmarks.reporting import run as runs
from benchmarks.reporting.plan import PLAN, Scale
from shop.errors import ExitCode


def run_all(scale: Scale, only: list[str], into: Path) -> int:
    """Run the benchmarks of a scale, or some of them; return 1 if one failed."""
    path = into / "report.json"
    last = runs.load(path)
    report = dict(last)
    chosen = [(p, argv) for p in PLAN if (argv := p.argv(scale)) and (not only or p.name in only)]
    failed, began = [], time.monotonic()
    for i, (planned, argv) in enumerate(chosen, start=1):
        print(f"[{i}/{len(chosen)}] {planned.name} ...", end=" ", flush=True)
        entry = runs.run(planned, scale, argv, last.get(planned.name))
        report[planned.name] = entry
        report = {p.name: report[p.name] for p in PLAN if p.name in report}
        into.mkdir(parents=True, exist_ok=True)
        found = {name: asdict(each) for name, each in report.items()}
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        markdown.write(report, into)
        print(f"{entry.seconds:,.0f} s{' FAILED: ' + entry.error if entry.error else ''}")
        failed += [planned.name] if entry.error else []
    minutes = (time.monotonic() - began) / 60
    print(f"{into / 'report.md'}: {len(chosen)} benchmarks in {minutes:.1f} minutes", end="")
    print(f", failed: {', '.join(failed)}" if failed else "")
    return ExitCode.FAILED if failed else ExitCode.OK


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
    args = parser.parse_args()
    default = (
        Path(__file__).parent / "report" if args.scale == "full" else Path("build", "benchmarks")
    )
    return run_all(args.scale, args.only, args.into or default)


if __name__ == "__main__":
    sys.exit(main())
