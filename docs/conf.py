"""How the documentation becomes a site: `make site` writes it to build/site, and a broken link ends the build."""

from fraudctl import __version__

project = "fraudctl"
version = release = __version__
copyright = "fraudctl"  # noqa: A001 - the name that the generator reads
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["images"]
myst_heading_anchors = 3
nitpicky = True
html_theme = "furo"
html_title = f"fraudctl {__version__}"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
