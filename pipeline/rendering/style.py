"""How figures look, and the two forms they are kept in: a file on white, and a part of a page that has its own colours."""

import io
import re
from typing import Any
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# The palette of Okabe and Ito, told apart with every common colour blindness; marks differ too, for print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "h")
INK, GRID, PAPER = "#333333", "#dddddd", "#ffffff"
# Inches. A phone shows it at nine tenths, and its type at 10 pixels.
WIDTH = 5.2
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "fairsweep",
    # Text stays text: it takes the page's type, is found by a search, and a file is a third as large.
    "svg.fonttype": "none",
    # An arm may be called `$x`.
    "text.parse_math": False,
    "font.size": 10.5,
    "axes.titlesize": 11,
    "axes.labelsize": 10.5,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "legend.fontsize": 10.5,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.columnspacing": 1.4,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.hspace": 0.04,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": GRID,
    "figure.facecolor": PAPER,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
}
# What a page calls the colours; it gives each a light and a dark value.
VARIABLES = {
    **{colour.lower(): f"var(--arm{place})" for place, colour in enumerate(COLOURS)},
    **{INK: "var(--ink)", GRID: "var(--grid)", PAPER: "var(--paper)"},
}
# Where SVG writes a colour, a reference to another element, and the fonts that a page has no need of.
COLOUR, REFERENCE, FONTS = (
    re.compile(r"#[0-9a-f]{6}\b"),
    re.compile(r"url\(#([^)]+)\)"),
    re.compile(r"font-family: [^;]*;\s*"),
)


def appearance(place: int) -> tuple[str, str]:
    """Colour and mark of the arm at `place` in the study's order."""
    return COLOURS[place % len(COLOURS)], MARKS[place % len(MARKS)]


def handles(cells: list[str]) -> list[Line2D]:
    """A legend's entries, an arm each."""
    appearances = [appearance(place) for place in range(len(cells))]
    return [
        Line2D([], [], color=colour, marker=mark, linewidth=2, label=arm)
        for arm, (colour, mark) in zip(cells, appearances, strict=True)
    ]


def svg(figure: Figure) -> str:
    """The figure as an SVG file; without dates, and with a fixed salt for its identifiers, so equal figures give equal bytes."""
    text = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(
            text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    return text.getvalue()


def inline(text: str, name: str, title: str) -> str:
    """An SVG file as an element of an HTML page: colours by the page's variables, identifiers of its own, a title read aloud.

    Args:
        text: what `svg` gave.
        name: unique in the page, the start of the element's identifiers.
        title: what the figure shows.
    """
    root = ElementTree.fromstring(text)
    _drop_namespaces(root)
    for parent in list(root.iter()):
        for child in [one for one in parent if one.tag in ("style", "metadata")]:
            parent.remove(child)
    _rename(root, name)
    for element in root.iter():
        if style := element.get("style"):
            element.set(
                "style",
                COLOUR.sub(lambda found: VARIABLES.get(found[0], found[0]), FONTS.sub("", style)),
            )
    width, height = root.get("viewBox", "").split()[2:]
    root.attrib = {"viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": title}
    label = ElementTree.Element("title")
    label.text = title
    root.insert(0, label)
    return ElementTree.tostring(root, encoding="unicode")


def _drop_namespaces(root: ElementTree.Element) -> None:
    """HTML knows SVG's elements by their bare names."""
    for element in root.iter():
        element.tag = element.tag.split("}")[-1]
        element.attrib = {key.split("}")[-1]: value for key, value in element.attrib.items()}


def _rename(root: ElementTree.Element, name: str) -> None:
    """Identifiers start with `name` where something refers to them, and go where nothing does: a page has several figures."""
    used = {
        found
        for element in root.iter()
        for value in element.attrib.values()
        for found in REFERENCE.findall(value)
    }
    used |= {
        element.get("href", "")[1:]
        for element in root.iter()
        if element.get("href", "").startswith("#")
    }
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == "id" and value not in used:
                del element.attrib[key]
            elif key == "id":
                element.set(key, f"{name}-{value}")
            elif key == "href" and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, REFERENCE.sub(rf"url(#{name}-\1)", value))
