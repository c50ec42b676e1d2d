"""The report as one offline HTML page, made from its Markdown, with the figures in it."""

import re
from collections.abc import Iterator, Mapping

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from .markdown import TEMPLATES
from .style import inline

NUMBER = re.compile(r"[\[<>−]*\d|–$|&lt;0")
# The class of a cell of the verdict matrix, by its sign.
SIGNS = {
    "▲": "better",
    "△": "better_within_margin",
    "▼": "worse_better",
    "▽": "worse_better_within_margin",
    "≈": "equivalent",
    "?": "undecided",
    "×": "refused",
}


def report(markdown: str, figures: Mapping[str, str]) -> str:
    """The page.

    Args:
        markdown: the report. Tags in it are escaped.
        figures: {name: SVG} of the figures that it shows.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = list(_blocks(parser, parser.parse(markdown), figures))
    title, sections = "", []
    starts = [place for place, token in enumerate(tokens) if token.type == "heading_open"]
    for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
        heading = _inline(parser, tokens[start + 1])
        if tokens[start].tag == "h1":
            title = heading
            continue
        body = parser.renderer.render(tokens[start + 3 : end], parser.options, {})
        slug = re.sub(r"\W+", "-", tokens[start + 1].content.lower()).strip("-")
        sections.append({"slug": slug, "title": Markup(heading), "body": Markup(body)})
    page = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    ).get_template("page.html.j2")
    return page.render(title=Markup(title), sections=sections) + "\n"


def _blocks(parser: MarkdownIt, tokens: list[Token], figures: Mapping[str, str]) -> Iterator[Token]:
    """The tokens of the page: figures in place of images, and tables that scroll and are labelled."""
    place = tables = 0
    while place < len(tokens):
        token, following = tokens[place], tokens[place + 1 : place + 4]
        children = (following[0].children or []) if following else []
        if token.type == "paragraph_open" and [child.type for child in children] == ["image"]:
            # An image, and the paragraph with its caption.
            caption = _inline(parser, tokens[place + 4])
            yield _html(_figure(children[0], caption, figures))
            place += 6
            continue
        if token.type == "paragraph_open" and following[0].content.startswith("**"):
            token.attrSet("class", "lead")
            following[0].children = [
                child for child in children if child.type not in ("strong_open", "strong_close")
            ]
        if token.type == "paragraph_open" and following[-1].type == "table_open":
            tables += 1
            token.attrSet("class", "caption")
            token.attrSet("id", f"table-{tables}")
            last = children[-1] if children else following[0]
            last.content = last.content.removesuffix(":")
        if token.type == "table_open":
            end = next(
                index for index in range(place, len(tokens)) if tokens[index].type == "table_close"
            )
            yield from _table(tokens[place : end + 1], f"table-{tables}")
            place = end + 1
            continue
        yield token
        place += 1


def _inline(parser: MarkdownIt, token: Token) -> str:
    """The HTML of an inline token."""
    html: str = parser.renderer.render([token], parser.options, {})
    return html


def _figure(image: Token, caption: str, figures: Mapping[str, str]) -> str:
    name = str(image.attrs["src"]).removeprefix("plots/").removesuffix(".svg")
    svg = inline(figures[name], name, image.content)
    return f'<figure id="figure-{name}">\n{svg}\n<figcaption>{caption}</figcaption>\n</figure>\n'


def _table(tokens: list[Token], label: str) -> Iterator[Token]:
    """A table in a box that scrolls, with header cells and classes."""
    box = f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{label}">\n'
    yield _html(box)
    corner = next(token for token in tokens if token.type == "inline")
    matrix = not corner.content and any(
        token.content[:1] in SIGNS for token in tokens if token.content
    )
    tokens[0].attrSet("class", "matrix" if matrix else "plain")
    tokens[0].attrSet("aria-labelledby", label)
    first = False
    for place, token in enumerate(tokens):
        if token.type == "tr_open":
            first = True
        elif token.type == "th_open":
            token.attrSet("scope", "col")
        elif token.type == "td_open":
            content = tokens[place + 1].content
            if first:
                token.tag = tokens[place + 2].tag = "th"
                token.attrSet("scope", "row")
            elif sign := SIGNS.get(content[:1]):
                token.attrSet("class", sign)
            elif NUMBER.match(content):
                token.attrSet("class", "number")
            elif content.startswith("`"):
                token.attrSet("class", "code")
            first = False
        yield token
    yield _html("</div>\n")


def _html(content: str) -> Token:
    return Token("html_block", "", 0, content=content)
