"""`kwspot doctor`."""

from dataclasses import asdict
import json
import textwrap
from typing import Annotated

import typer

from kwspot.commands import console
from kwspot.commands.options import DATA, RUNS, AsCsv, DataDir, RegistryPath, RunsDir


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON.")] = False,
    as_csv: AsCsv = False,
    data: DataDir = DATA,
    runs: RunsDir = RUNS,
    registry: RegistryPath = None,
) -> None:
    """Examine the installation, corpus, features and runs; name what is broken and the command that fixes it.

    Exits with 1 if something fails; warnings do not count.

    Examples:

      kwspot doctor

      kwspot doctor --json | jq '.findings[] | select(.state != "ok")'
    """
    form = console.chosen("text", json=as_json, csv=as_csv)
    from kwspot.doctor import FAIL, WARN, examine

    findings = examine(data, runs, registry)
    failed = sum(finding.state == FAIL for finding in findings)
    if form == "csv":
        rows = [[one.name, one.state, one.says, one.repair] for one in findings]
        console.say(console.csv_text(["name", "state", "says", "repair"], rows))
    elif form == "json":
        content = {"ok": not failed, "findings": [asdict(finding) for finding in findings]}
        console.say(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            first = f"{finding.state:5}{finding.name:9} "
            console.say(textwrap.fill(finding.says, 80, initial_indent=first, subsequent_indent=" " * 15))
            if finding.repair:
                console.say(f"{'':15}fix: {finding.repair}")
        warned = sum(finding.state == WARN for finding in findings)
        console.say(f"{failed} failed, {warned} warned, {len(findings) - failed - warned} ok")
    if failed:
        raise typer.Exit(1)
