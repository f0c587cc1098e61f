"""One escaper per format: Markdown, GitHub workflow commands, XML. Whatever comes from data reads back as text.

All of them first make hidden characters visible (`fraudctl.text.plain`). HTML is escaped by the template engine, TOML
by `fraudctl.project.toml`, terminals by `fraudctl.cli.session`.
"""

from __future__ import annotations

import re

from fraudctl.text.plain import visible

BREAK = "&#8203;"
"""A zero-width space: behind ``@`` and ``#`` it keeps GitHub from reading a mention or a reference. Those of data are
shown as escapes, so that a reader can take these out."""

_MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|#(?!\w)|^[-+=]|:(?=//)|(?<=www)\.", re.IGNORECASE)
_REFERENCE = re.compile(r"(?:@|GH-|:(?=[a-z0-9_+-]+:))(?=[\w+-])|#(?=\w)", re.IGNORECASE)


def markdown(text: str) -> str:
    r"""Return text for one line of GitHub-flavoured Markdown or a table cell: no markup, link, mention or picture.

    >>> print(markdown("<b>*x*|"))
    &lt;b&gt;\*x\*\|
    """
    plain = visible(text, lines=True).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    plain = _MARKUP.sub(lambda found: f"\\{found[0]}", plain)
    plain = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", plain)
    plain = _REFERENCE.sub(_unlinked, plain)
    return re.sub(r"^\s+|\s+$|[\n\t]", lambda found: "".join(f"&#{ord(char)};" for char in found[0]), plain)


def _unlinked(found: re.Match[str]) -> str:
    return f"\\{found[0]}{BREAK}" if found[0] in "#:" else f"{found[0]}{BREAK}"


def github(text: str) -> str:
    """Return text for the message of a GitHub workflow command, which ends at the end of its line."""
    return visible(text, lines=True).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def github_property(text: str) -> str:
    """Return text for a property of a GitHub workflow command, such as its title."""
    return github(text).replace(":", "%3A").replace(",", "%2C")


def xml(text: str) -> str:
    """Return text that XML 1.0 can hold; the writer of the document escapes its markup."""
    return visible(text, lines=True)
