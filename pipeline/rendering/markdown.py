"""Markdown pages from the templates in `templates/`: the report, its parts for the README, cards."""

import functools
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..analysis.types import Summary
from ..config.validation import as_typed
from ..errors import as_called
from ..metrics import measure_of
from . import format as text
from . import tables
from .limitations import limitations, split
from .tables import Table

TEMPLATES = Path(__file__).with_name("templates")
# How scores are to be read, by metric.
READING = {
    "accuracy": "Accuracies are fractions",
    "f1": "Micro-F1 scores are fractions",
    "nll": "Lower is better",
}
FUNCTIONS: tuple[Callable[..., Any], ...] = (
    text.best_baseline,
    text.chance,
    text.counted,
    text.decimal,
    text.efficient,
    text.level,
    text.linear_only,
    text.listed,
    text.margin,
    text.open_pairs,
    text.oriented,
    text.p_value,
    text.published_range,
    text.settings,
    text.versions,
    text.without_identity,
    as_typed,
)


def escape(value: Any) -> Any:
    """`value` without HTML tags, if it is a string of the study's and not marked as safe."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return value.replace("<", "&lt;")


def code(value: str) -> Markup:
    """`value` as inline code."""
    return Markup(f"`{value}`")


def line(value: str) -> Markup:
    """The output of a macro on one line."""
    return Markup(re.sub(r" (?=[.,;)])", "", " ".join(value.split())))


def lines(value: str) -> Markup:
    """The output of a macro without empty lines."""
    return Markup("\n".join(filter(str.strip, value.splitlines())))


def table(content: Table) -> Markup:
    """A table with its caption; empty if it has no rows."""
    if not content.rows:
        return Markup("")
    caption = f"{escape(content.caption)}:\n\n" if content.caption else ""
    return Markup(caption + rows(content))


def rows(content: Table) -> str:
    """A Markdown table. A bar in a cell is escaped."""
    every = [content.header, ["---"] * len(content.header), *content.rows]
    cells = ([escape(cell).replace("|", "\\|") for cell in row] for row in every)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        finalize=escape,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        {function.__name__: function for function in FUNCTIONS}, tables=tables, table=table
    )
    environment.globals["places"] = text.standing
    environment.filters.update(
        code=code,
        line=line,
        lines=lines,
        oriented=text.oriented,
        capitalize_first=lambda value: value[:1].upper() + value[1:],
    )
    return environment


def _sentences() -> Any:
    """The macros of sentences.md.j2."""
    return _environment().get_template("sentences.md.j2").module


def render(template: str, **context: Any) -> str:
    """A page from `templates/TEMPLATE`, without runs of empty lines."""
    page = _environment().get_template(template).render(**context)
    return as_called(re.sub(r"\n\s*\n\s*\n", "\n\n", page).strip() + "\n")


def context(summary: Summary, study: dict[str, Any]) -> dict[str, Any]:
    """The variables that every page has: the summary `s`, its measure `m`, and study.json."""
    optional = dict.fromkeys(Summary.__optional_keys__)
    return {"s": {**optional, **summary}, "m": measure_of(summary), "study": study}


def report(summary: Summary, study: dict[str, Any], figures: Collection[str]) -> str:
    """The report.

    Args:
        summary: what metrics.json holds.
        study: what study.json holds.
        figures: names of the figures that exist; the report omits others.
    """

    def reading() -> str:
        measure = measure_of(summary)
        unit = READING.get(measure.metric, f"Errors are in {measure.unit}, lower is better")
        as_what = "the trivial baseline" if "trivial" in summary["baseline"] else "guessing"
        return f"{unit}; ± is the sample sd. A failed run scores as {as_what}."

    return render(
        "report.md.j2",
        **context(summary, study),
        figure=functools.partial(figure, figures),
        reading=reading,
        split=split(study),
        limits=limitations(summary, study),
    )


def limits(probe: Mapping[str, Any]) -> str:
    """limits.md, the page of what `probe` measured; its figure is limits.svg beside it."""
    page = render("limits.md.j2", probe=probe, figure=functools.partial(figure, ("limits",)))
    return page.replace("](plots/", "](")


def figure(figures: Collection[str], name: str, title: str, caption: str) -> Markup:
    """The figure `plots/NAME.svg` with its caption; empty if there is no such figure."""
    if name not in figures:
        return Markup("")
    return Markup(f"![{title}](plots/{name}.svg)\n\n*{escape(caption)}*")


def macro(name: str, *arguments: Any) -> str:
    """The output of one macro of sentences.md.j2 as plain text on one line."""
    output: str = getattr(_sentences(), name)(*arguments)
    return str(line(output)).replace("&lt;", "<")


def sentence(name: str, summary: Summary, study: dict[str, Any] | None = None) -> str:
    """A sentence on the whole study: `answer`, `short`, `baseline_short`, …"""
    values = context(summary, study or {})
    template = getattr(_sentences(), name)
    return macro(name, *(values[argument] for argument in template.arguments))


def flag_sentences(summary: Summary) -> list[str]:
    """One sentence per problem that a check found."""
    return [macro("flag", flag) for flag in summary.get("flags", [])]


def readme_blocks(summary: Summary, study: dict[str, Any]) -> dict[str, str]:
    """The generated parts of the README, by name."""
    values = context(summary, study)
    macro = _sentences().single_runs
    single = lines(macro(values["s"], values["m"], study)) if summary["trials"] else ""
    return {
        "answer": f"**{sentence('answer', summary)}**",
        "results": rows(tables.readme(summary)) if summary["trials"] else "",
        "recipe": rows(tables.recipes(summary)),
        "single_run": str(single),
    }
