"""How Sphinx builds the site; it is copied beside its sources."""

from docutils import nodes
from sphinx.application import Sphinx

project = "Learn PGQueuer"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["jupyter_execute"]
smartquotes = False  # in prose, too, `--threshold` is an option
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],  # a search field stands above the contents
    "show_toc_level": 2,
    "footer_content_items": [],
}
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
html_context = {"default_mode": "auto"}
myst_heading_anchors = 3  # lessons link to the terms of the glossary
nb_execution_mode = "off"  # tests.site.executed has done it
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "text/html", 0)]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
default_role = "py:obj"  # a name in single backticks, in docstrings


def setup(app: Sphinx) -> None:
    """Let a dash stand behind the name of a parameter, though ``--`` is none elsewhere."""

    def dashes(app: Sphinx, page: nodes.document) -> None:
        for text in list(page.findall(nodes.Text)):
            if text == " -- ":
                text.parent.replace(text, nodes.Text(" – "))

    app.connect("doctree-read", dashes)
