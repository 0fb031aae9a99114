"""The sections of a document as plain text, for a pipe, and as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from validate.sections import opening, sections
from validate.words import Section


def markdown(document: Mapping[str, Any], files: Sequence[str] = (), chart: str = "") -> str:
    """The report as a Markdown document, with the chart's file under the opening where there is one."""
    answer, *rest = opening(document)
    picture = [f"![{answer}]({chart})"] if chart else []
    blocks = [f"# {answer}", *(line[0].upper() + line[1:] for line in rest), *picture]
    for section in sections(document, files):
        blocks += [f"## {section.title}", *map(_escaped, section.before), *_markdown_table(section)]
        blocks += map(_escaped, section.after)
    return "\n\n".join(blocks) + "\n"


def plain(document: Mapping[str, Any], files: Sequence[str] = ()) -> str:
    """The report as aligned text without escape codes, as wide as it needs to be."""
    lines = [*opening(document)]
    for section in sections(document, files):
        lines += ["", section.title.upper(), *section.before, *_aligned(section), *section.after]
    return "\n".join(lines) + "\n"


def _aligned(section: Section) -> list[str]:
    table = [*([section.columns] if any(section.columns) else []), *section.rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _markdown_table(section: Section) -> list[str]:
    if not section.columns:
        return []
    table = [section.columns, ("---",) * len(section.columns), *section.rows]
    return ["\n".join(f"| {' | '.join(map(_escaped, row))} |" for row in table)]


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
