r"""Text from data, made harmless before it is shown: the one function that every terminal and every format uses.

Names of columns, values of categories, file names and reasons may hold anything. Control characters move the cursor or
recolour a terminal, bidirectional ones reverse what is read, line separators forge lines, and some end a renderer. They
are shown as the escapes that Python would write, such as ``\x1b``. The standard library is all that this needs.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_HIDDEN = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufdd0-\ufdef"
    "\ud800-\udfff\U000e0000-\U000e0fff"
) + "".join(f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(17))
HIDDEN = re.compile(f"[{_HIDDEN}]")
"""One character that is not shown, moves what is shown, or ends a line."""
_ANY_BUT_LINES = re.compile(f"(?![\n\t])[{_HIDDEN}]")


def visible(text: str, *, lines: bool = False) -> str:
    r"""Return text in which every control, bidirectional, invisible or unassignable character is an escape.

    Parameters
    ----------
    lines
        Whether line feeds and tabs stay: for text of several lines that fraudctl itself has put together.

    >>> visible("red\x1b[31m")
    'red\\x1b[31m'
    """
    return (_ANY_BUT_LINES if lines else HIDDEN).sub(_escape, text)


_VALUE = re.compile(r"(?:\d[ .-]?){9}|[0-9a-fA-F]{32}|\d{4}-\d\d-\d\d[T ]|@[^@]*\.")
_LONGEST_NAME = 80


def looks_like_value(name: str) -> bool:
    """Return whether a name from a file or a request looks like the value of a cell: a card number, a time, an address.

    >>> [looks_like_value(name) for name in ("amount_30d", "V17", "12", "4111 1111 1111 1111", "7.92", "a@b.org")]
    [False, False, False, True, True, True]
    """
    bare = not any(letter.isalpha() for letter in name) and any(letter.isdigit() for letter in name)
    return bool(_VALUE.search(name)) or len(name) > _LONGEST_NAME or (bare and not (name.isdigit() and len(name) < 4))


def described(name: str) -> str:
    """Return a name from a file for a list of names: as it is if it looks like a name, else only described."""
    return f"a name of {len(name)} characters" if looks_like_value(name) else name


def shown(name: str) -> str:
    """Return a name from a file or a request for a message: quoted if it looks like a name, else only described."""
    return f"a name of {len(name)} characters" if looks_like_value(name) else repr(visible(name))


def shown_all(names: Collection[str], *, most: int = 30) -> str:
    """Return names from a file for a message: those that look like names, and the number of all others."""
    told = [visible(name) for name in names if not looks_like_value(name)][:most]
    rest = len(names) - len(told)
    more = [f"{rest} more" if told else f"{rest} that do not look like names"] if rest else []
    return " and ".join([", ".join(told), *more] if told else more) or "none"


_BY_FOUR = r"\d{4}(?P<four>[ -])\d{4}(?P=four)\d{4}(?P=four)\d{1,7}"
_BY_SIX = r"\d{4}(?P<six>[ -])\d{6}(?P=six)\d{5}"
_CARD = rf"(?<![\w.-])(?:\d{{13,19}}|{_BY_FOUR}|{_BY_SIX})(?![\w-])"
_IBAN = r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])"
_MAIL = r"(?<![\w/])[\w.%+-]+@[\w-]+(?:\.[\w-]+)+(?![\w/])"
_LONGEST_WORD = 300
_SECRET = re.compile(f"(?P<card>{_CARD})|(?P<iban>{_IBAN})|(?P<mail>{_MAIL})|(?P<long>[^\\s/]{{{_LONGEST_WORD},}})")


def masked(text: str) -> str:
    """Return a message in which card numbers, account numbers, e-mail addresses and endless words are only described.

    The last barrier of every error, finding, warning and note: names are shown through `shown` and `shown_all` where a
    message is put together, and what slips past them stops here. Card numbers are those with a valid check digit
    (ISO/IEC 7812-1), account numbers those with a valid remainder (ISO 13616).

    >>> masked("no column 4111 1111 1111 1111; a@b.org wrote 1,234,567 rows")
    'no column (a number of 16 digits); (an e-mail address) wrote 1,234,567 rows'
    """
    return _SECRET.sub(_described, text)


def _described(match: re.Match[str]) -> str:
    found = match[0]
    if match["card"]:
        digits = "".join(filter(str.isdigit, found))
        return f"(a number of {len(digits)} digits)" if _has_check_digit(digits) else found
    if match["iban"]:
        return "(an account number)" if _is_account(found.replace(" ", "")) else found
    return "(an e-mail address)" if match["mail"] else f"(a name of {len(found)} characters)"


def _has_check_digit(digits: str) -> bool:
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0


def _is_account(text: str) -> bool:
    return int("".join(str(int(letter, 36)) for letter in text[4:] + text[:4])) % 97 == 1


def _escape(match: re.Match[str]) -> str:
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    point = ord(match[0])
    if point < 0x100:
        return short.get(match[0], f"\\x{point:02x}")
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def visible_json(text: str) -> str:
    r"""Return the text of a JSON document with hidden characters of its strings as ``\uXXXX``: the same document.

    Line feeds and tabs stay; in JSON they stand between values only.
    """
    return _ANY_BUT_LINES.sub(_json_escape, text)


def _json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
