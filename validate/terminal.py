"""The sections of a document on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from validate.sections import opening, sections
from validate.words import Section

ROOMY = 110


def show(document: Mapping[str, Any], files: Sequence[str] = (), console: Console | None = None) -> None:
    """Print the report with tables as wide as the terminal."""
    console = console or Console(highlight=False)
    answer, *rest = opening(document)
    console.print(answer, style="bold", markup=False)
    for line in rest:
        console.print(line, markup=False)
    for section in sections(document, files):
        console.print(f"\n{section.title}", style="bold", markup=False)
        rows = [_table(section, narrow=console.width < ROOMY)] if section.columns else []
        for part in (*section.before, *rows, *section.after):
            console.print(part, markup=False)


def _table(section: Section, *, narrow: bool) -> Table:
    """On a narrow terminal an interval goes below its value; the first column is never broken."""
    table = Table(box=box.SIMPLE_HEAD, show_header=any(section.columns), pad_edge=False, padding=(0, 1, 0, 0))
    for place, column in enumerate(section.columns):
        table.add_column(Text(column), overflow="fold", no_wrap=not place)
    for row in section.rows:
        table.add_row(*(Text(cell.replace(" (", "\n(") if narrow else cell) for cell in row))
    return table
