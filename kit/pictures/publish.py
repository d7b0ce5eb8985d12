"""Make an executed notebook fit for a page that runs no widgets.

A widget is drawn by JavaScript that talks to a kernel. Where a notebook is published there is no kernel, and
most viewers leave a blank or fetch scripts from elsewhere; the still picture beside a board needs neither.

    jupyter nbconvert --to html --Exporter.preprocessors=kit.pictures.publish.DropWidgets lesson.ipynb
"""

from __future__ import annotations

from typing import Any

from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode

from kit.pictures.live import WIDGET, WORDS


def without_widgets(notebook: NotebookNode) -> NotebookNode:
    """Take the widgets out of an executed notebook, in place, and return it. Their still pictures stay."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _keep(output)]
    return notebook


def _keep(output: NotebookNode) -> bool:
    data = output.get("data", {})
    if WIDGET not in data:
        return True
    del data[WIDGET]
    # What other libraries' widgets say in words, such as how far a progress bar came, is worth keeping.
    return bool(data) and data.get("text/plain") != WORDS


class DropWidgets(Preprocessor):
    """The same as a step of ``nbconvert``."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        """Take the widgets out of ``nb``."""
        return without_widgets(nb), resources
