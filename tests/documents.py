"""What the documentation says, taken from its Markdown and from its HTML."""

import re
from html.parser import HTMLParser
from pathlib import Path

from studies import ROOT

PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]

FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^()\s]+)\)")
PROGRAM = re.compile(r"(?:^secnn|python (?:study|analysis)/\w+\.py) [^'#]*")


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return FENCED.sub("", text)


def python(text: str) -> str:
    """The Python on a page, in order, as one program."""
    return "\n".join(code for language, code in FENCED.findall(text) if language == "python")


def commands(text: str) -> list[str]:
    """The command lines on a page: those in blocks, and in the running text."""
    joined = text.replace("\\\n", " ")
    blocks = "\n".join(code for language, code in FENCED.findall(joined) if language == "sh")
    indented = re.findall(r"^    (.*)", FENCED.sub("", joined), re.MULTILINE)
    spans = [" ".join(s.split()) for s in re.findall(r"`([^`]+)`", FENCED.sub("", joined))]
    parts = [p.strip() for line in [*blocks.split("\n"), *indented] for p in line.split("&&")]
    found = [PROGRAM.search(part) for part in (*parts, *spans)]
    lines = [" ".join(match.group().split()) for match in found if match]
    return [line for line in dict.fromkeys(lines) if not set(line) & set("…|[")]


def section(text: str, heading: str) -> str:
    """What stands under `heading`, up to the next one of its level."""
    return re.split(r"(?m)^## ", text.split(f"\n## {heading}\n", 1)[1])[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables, without heads, and without the backticks of single code spans."""
    lines = [line for line in text.split("\n") if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    heads = {i for i, line in enumerate(lines) if re.match(r"\|[-:]+\|", line)}
    body = [row for i, row in enumerate(cells) if not {i, i + 1} & heads]
    return [[re.sub(r"^`([^`]*)`$", r"\1", cell) for cell in row] for row in body]


def anchors(text: str) -> set[str]:
    """The headings' names in links, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class Page(HTMLParser):
    """A page of the site.

    Attributes:
        ids: the places in it.
        links: where its links lead.
        loaded: what it loads: scripts, styles, pictures.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(read(path))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.ids |= {value for name in ("id", "name") if (value := found.get(name))}
        if tag == "a":
            self.links += [found.get("href") or "#"]
        elif tag in ("script", "img", "link"):
            self.loaded += [value for name in ("src", "href") if (value := found.get(name))]
