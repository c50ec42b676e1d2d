"""The numbers of the README and of the page of claims, made again from the tables that they come from."""

import re
from pathlib import Path
from typing import Any

from pipeline.auditing.edits import Edit, of
from pipeline.reporting import claims, page, sheets

PAGES = (Path("README.md"), Path("docs/claims.md"))
# The study that the README tells of at length, and the one whose recipe is in print.
TOLD, PRINTED = "imdb", "article"


def blocks(study: str, metrics: dict[str, Any], described: dict[str, Any], results: Path) -> dict[str, str]:
    """What stands between the markers of PAGES, by their names, as far as `study` decides it.

    Args:
        study: its name.
        metrics: its metrics.
        described: its study.json.
        results: the folder of all studies, for the claims, of which each may be of another one.
    """
    found = page.readme_blocks(metrics, described) if study == TOLD else {}
    if study == PRINTED:
        found["printed"] = page.markdown_table(sheets.printed(metrics))
    return {**found, "claims": page.markdown_table(claims.table(results, {study: metrics}))}


def block(text: str, name: str) -> tuple[int, str] | None:
    """The line after the marker `name` in a page's `text`, from 1, and what stands there up to the other one; or None."""
    found = re.search(rf"<!-- {name}:begin -->\n(.*?)\n<!-- {name}:end -->", text, re.DOTALL)
    return (text[: found.start(1)].count("\n") + 1, found[1]) if found else None


def check(text: str, made: dict[str, str], file: Path = PAGES[0]) -> list[Edit]:
    """What differs in the `text` of a page from `made`; blocks that it does not have are left out."""
    found = []
    for name, again in made.items():
        if (there := block(text, name)) is not None:
            line, written = there
            found += [
                Edit(edit.file, line + edit.line - 1, f"{name}: {edit.what}", edit.there, edit.again)
                for edit in of(str(file), written, again)
            ]
    return found
