"""How Sphinx builds the manual out of these pages: `make manual`.

Nothing is fetched: the theme is Sphinx's own, without web fonts, and no address is resolved. The
parts of the reference that repeat the code are written by ``generators`` at every build.
"""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

project = "kwota"
author = "the authors of kwota"
language = "en"
extensions = ["myst_parser", "generators.placeholders"]
exclude_patterns = ["schemas"]
nitpicky = True

myst_heading_anchors = 4  # the same names that a browser of repositories gives to headings
smartquotes = False  # commands and codes are shown as they are typed

html_theme = "alabaster"
html_title = "kwota – manual"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_last_updated_fmt = ""
pygments_style = "default"
html_sidebars = {"**": ["about.html", "searchbox.html", "navigation.html", "relations.html"]}
html_theme_options = {
    "description": "keeps a purchased quantity of energy",
    "page_width": "72rem",
    "sidebar_width": "15rem",
    "body_max_width": "54rem",
    "font_family": "system-ui, sans-serif",
    "fixed_sidebar": True,
    "show_powered_by": False,
    "navigation_with_keys": True,
}
