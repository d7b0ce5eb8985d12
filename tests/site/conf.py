"""How Sphinx builds the site; it is copied beside the pages."""

project = "PGQueuer notebook kit"
extensions = ["myst_nb"]
html_theme = "sphinx_book_theme"
myst_heading_anchors = 3  # lessons link to the terms of the glossary
nb_execution_mode = "off"
nb_merge_streams = True
html_show_sourcelink = False
html_copy_source = False
