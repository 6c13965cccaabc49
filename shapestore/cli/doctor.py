"""The command doctor."""

from __future__ import annotations

import click
from rich.text import Text

from shapestore.admin.doctor import Finding, Severity, examine, is_sound
from shapestore.cli.arguments import json_option, path_argument
from shapestore.cli.output import cell, console, is_terminal, print_fields, print_json, say
from shapestore.cli.tables import new_table

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


@click.command()
@path_argument
@click.option("--quick", is_flag=True, help="Do not read every page: faster, but finds less damage.")
@json_option
def doctor(path: str, quick: bool, as_json: bool) -> None:
    """Examine a store's file, and say what to do.

    Nothing is changed.

    Exit status: 0 if the file is sound, 1 if there is an error or a warning. Notes do not count.
    """
    findings = examine(path, quick=quick)
    sound = is_sound(findings)
    if as_json:
        print_json({"path": path, "sound": sound, "findings": findings})
    elif is_terminal():
        _print_for_people(findings)
    else:
        print_fields(("severity", "name", "what", "to do"))
        for finding in findings:
            print_fields((finding.severity.value, finding.name, finding.what, finding.to_do))
    if not as_json:
        say(f"{path} is sound" if sound else f"{path} needs attention")
    if not sound:
        raise click.exceptions.Exit(1)


def _print_for_people(findings: list[Finding]) -> None:
    table = new_table(header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        title = Text(f"{finding.severity.value}: {finding.name}", style=_STYLES[finding.severity])
        table.add_row(title, cell(finding.what))
        table.add_row("", Text.assemble("-> ", cell(finding.to_do)))
    if findings:
        console().print(table)
