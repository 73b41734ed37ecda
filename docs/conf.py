"""How Sphinx builds the manual: ``python -m sphinx -W --keep-going -b html docs FOLDER``, offline.

The reference is made from the names in ``__all__`` of the package and of its public modules, so a new one is in it; the
gallery from the entries of ``fastflow reproduce``, computed and drawn at the size of the tests, or taken from these:
``FASTFLOW_GALLERY`` names the folder in which they have left what they drew.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

import fastflow as ff
from fastflow.gallery import ENTRIES, Entry, Verdict, files_of, reproduce

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "fastflow"
author = copyright = "The fastflow developers"
release = ff.__version__
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx_design"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autosummary_generate = False
autodoc_typehints = "none"
numpydoc_show_class_members = False
default_role = "py:obj"
PAGES = ("start", "choose", "studies", "embed", "guarantees", "speed", "measured", "extend", "CHANGELOG", "STORE")
"""Which have no others beside them to go to."""
html_theme = "pydata_sphinx_theme"
html_title = "fastflow"
html_theme_options = {"show_prev_next": False, "navigation_depth": 2, "header_links_before_dropdown": 6}
html_sidebars: dict[str, list[str]] = {page: [] for page in PAGES}
html_copy_source = html_show_sourcelink = False
html_static_path: list[str] = []

HERE = Path(__file__).parent
REFERENCE, GALLERY = HERE / "reference", HERE / "gallery"
MODULES = ("inits", "metrics", "theory", "baselines", "ensembles", "operators", "plot", "kernels")
KINDS = {"Problems": ff.problems.__all__, "Networks": ff.networks.__all__, "Methods and steps": ff.methods.__all__}
"""What has a table of its own among the names of the package itself."""

FOREIGN = "tuple, int, IntEnum, Exception, object"
"""Bases of which no method is listed."""


def tables() -> Iterator[tuple[str, str, list[str]]]:
    """The title of each table of the reference, where its names live, and the names."""
    for title, names in KINDS.items():
        yield title, "fastflow", sorted(names)
    others = set(ff.__all__).difference(*KINDS.values(), MODULES)
    classes = {name for name in others if inspect.isclass(getattr(ff, name))}
    yield "Running, studies, and functions of arrays", "fastflow", sorted(others - classes)
    yield "Results, and what is asked for", "fastflow", sorted(classes)
    for module in MODULES:
        yield f"ff.{module}", f"fastflow.{module}", sorted(getattr(ff, module).__all__)


def find(path: str) -> object:
    """The object of a dotted name that starts at the package."""
    found: object = ff
    for name in path.split(".")[1:]:
        found = getattr(found, name)
    return found


def entry(path: str) -> str:
    """The page of one public name."""
    member = find(path)
    if inspect.isclass(member):
        directive, options = "autoclass", f"   :members:\n   :inherited-members: {FOREIGN}\n"
    elif callable(member):
        directive, options = "autofunction", ""
    else:
        directive, options = "autodata", "   :no-value:\n"
    return f"{path}\n{'=' * len(path)}\n\n.. {directive}:: {path}\n{options}"


def overview() -> str:
    """The page with all tables."""
    text = ["Reference", "=========", "", "``import fastflow as ff``. Everything public, by where it is.", ""]
    for title, module, names in tables():
        text += [title, "-" * len(title), ""]
        found = find(module)
        if isinstance(found, ModuleType) and found is not ff:
            text += [textwrap.dedent(inspect.getdoc(found) or "").split("\n\n")[0], ""]
        text += [".. autosummary::", "   :toctree: .", "   :nosignatures:", ""]
        text += [f"   {module}.{name}" for name in names] + [""]
    return "\n".join(text)


def pages() -> dict[str, str]:
    """Every page of the reference, by its file's name."""
    found = {"index.rst": overview()}
    for _, module, names in tables():
        found |= {f"{module}.{name}.rst": entry(f"{module}.{name}") for name in names}
    return found


def plain(text: object) -> str:
    """Words of which no character is markup."""
    return re.sub(r"([\\`*_|])", r"\\\1", str(text))


def of_gallery(entry: Entry, verdict: object) -> str:
    """The page of one study."""
    module = Path(inspect.getfile(entry.compute)).name
    return f"""{entry.name}
{"=" * len(entry.name)}

{plain(entry.claim)}

*{plain(entry.source)}*

.. image:: {entry.name}.png
   :alt: {entry.claim}

As drawn here, at the size of the tests: {plain(verdict)}. ``fastflow reproduce {entry.name}`` computes it at a size
that says more.

* Taken from the source: {plain(entry.taken)}.
* Chosen here: {plain(entry.chosen)}.

.. literalinclude:: ../../fastflow/gallery/{module}
   :language: python
"""


def drawn(entry: Entry) -> Verdict:
    """The verdict on a study at the size of the tests, with its files in the gallery."""
    folder = os.environ.get("FASTFLOW_GALLERY")
    left = [] if folder is None else files_of(entry, Path(folder))
    if not left or not all(path.is_file() for path in left):
        return reproduce(entry, GALLERY, "tiny")
    for path in left:
        shutil.copy(path, GALLERY)
    with np.load(left[0]) as data:
        return entry.check(dict(data))


def gallery() -> dict[str, str]:
    """Every page of the gallery, by its file's name; writes the pictures, too."""
    text = ["Gallery", "=======", "", inspect.cleandoc(OF_GALLERY), "", ".. toctree::", "   :hidden:", ""]
    text += [f"   {name}" for name in ENTRIES] + ["", ".. list-table::", "   :widths: 35 65", ""]
    found = {}
    for name, entry in ENTRIES.items():
        text += [f"   * - .. image:: {name}.png", "          :width: 260", f"          :alt: {entry.claim}"]
        text += [f"     - :doc:`{name}`", "", f"       {plain(entry.claim)}", "", f"       *{plain(entry.source)}*"]
        found[f"{name}.rst"] = of_gallery(entry, drawn(entry))
    return {"index.rst": "\n".join(text) + "\n", **found}


OF_GALLERY = """
    Published studies, each a page of code on the public API, its data, its figure, and whether its claim holds in the
    data. ``fastflow reproduce`` lists them, ``fastflow reproduce NAME`` computes one in some minutes at most and says
    *holds* or *does not hold*, and ``--full`` runs the published size, after saying how long that takes here.
    """


def write(folder: Path, wanted: dict[str, str]) -> None:
    """Write the pages that are not there as they should be, and take away those of what is gone."""
    for old in folder.glob("*.rst"):
        if old.name not in wanted:
            old.unlink()
    for name, text in wanted.items():
        page = folder / name
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def write_pages(app: Sphinx) -> None:
    """Write the reference and the gallery."""
    for folder, make in ((REFERENCE, pages), (GALLERY, gallery)):
        folder.mkdir(exist_ok=True)
        write(folder, make())


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_pages)
