"""Sphinx's configuration of the site."""

from pikachu import __version__
from pikachu.help.markdown import anchor_of

project = "Pikachu CA"
version = release = __version__
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"Pikachu CA {__version__}"
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
myst_heading_anchors = 3
myst_heading_slug_func = anchor_of
# The guide's code blocks name what they are for, such as nginx; colours are not worth a warning about a word.
suppress_warnings = ["misc.highlighting_failure", "config.cache"]
