"""The site: `python -m sphinx -W docs FOLDER` writes it to FOLDER.

The pages are Markdown that reads well on GitHub too; what Sphinx alone understands is added to them
here: the contents, the reference of the public names, and CONTRIBUTING.md.
"""

import inspect
import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.roles import XRefRole

import secnn

project = "secnn"
author = "The secnn authors"
version = release = secnn.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

highlight_language = "none"
html_theme = "furo"
html_title = f"secnn {release}"
html_static_path = html_css_files = ["site.css"]
pygments_dark_style = "github-dark"
html_show_copyright = html_show_sourcelink = html_copy_source = False

myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # Else fields would be described twice.
default_role = "code-or-name"

CONTENTS = {
    "Using it": ("gallery", "faq", "results", "report", "reliability", "cluster", "performance"),
    "How it works": ("method", "training", "cells", "criterion", "criterion-evidence", "paper"),
    "Building on it": ("extending", "api", "contributing"),
}
"""Caption → the pages below it, in the order of the site's contents."""


def contents() -> str:
    """The tables of contents, which show beside every page."""
    return "\n".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{chr(10).join(pages)}\n```"
        for caption, pages in CONTENTS.items()
    )


def reference(text: str) -> str:
    """`text` with, at the end of each section, the docstrings of the names that its table lists."""
    sections = re.split(r"(?m)^(?=## )", text)
    return "\n".join(section + described(section) for section in sections)


def described(section: str) -> str:
    """Directives for the classes and functions in the first column of a table."""
    names = re.findall(r"(?m)^\| `(\w+)` \|", section)
    found = {name: getattr(secnn, name) for name in names}
    lines = [
        f".. autoclass:: secnn.{name}\n   :members:\n"
        if inspect.isclass(value)
        else f".. autofunction:: secnn.{name}\n"
        for name, value in found.items()
        if callable(value)
    ]
    return "\n```{eval-rst}\n" + "\n".join(lines) + "```\n" if lines else ""


def contributing() -> str:
    """CONTRIBUTING.md, which stands where GitHub looks for it."""
    return "```{include} ../CONTRIBUTING.md\n:relative-docs: docs/\n:relative-images:\n```\n"


def complete(app: Sphinx, page: str, source: list[str]) -> None:
    """Add to a page what Markdown alone cannot say."""
    if page == "index":
        source[0] += contents()
    elif page == "api":
        source[0] = reference(source[0])
    elif page == "contributing":
        source[0] = contributing()


def spaced(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list) -> None:
    """Before and behind backticks docutils wants a stop or a space; escaped, it does not show."""
    lines[:] = [line.replace("×`", r"×\ `").replace("`×", r"`\ ×") for line in lines]


class CodeOrName(XRefRole):
    """What docstrings have in single backticks: a link if it is a public name, else code."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        if self.text not in secnn.__all__:
            return [nodes.literal(self.rawtext, self.text)], []
        self.name, self.target = "py:obj", f"secnn.{self.text}"
        return super().run()


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_role("code-or-name", CodeOrName())
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
    app.connect("source-read", complete)
    app.connect("autodoc-process-docstring", spaced)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
