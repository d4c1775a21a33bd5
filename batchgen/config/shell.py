"""Settings and commands as a message suggests them: what is pasted into a shell means the same.

A suggestion goes through two readers, the shell and the grammar of Hydra, whose quotes are not the
shell's.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

_PLAIN = re.compile(r"[A-Za-z/](?:[\w./-]*\w)?", re.ASCII)
_WORDS = ("null", "true", "false", "nan", "inf")


def override(key: str, value: object) -> str:
    """Return a setting, `key=value`, for a command line: both readers leave the value as it is.

    A number or a truth value stands as it is written; any text is text.
    """
    return shlex.quote(f"{key}={_written(value)}")


def names(key: str, values: Iterable[object]) -> str:
    """Return a setting that is a list, such as `key=[a,b]`, for a command line."""
    return shlex.quote(f"{key}=[{','.join(map(_written, values))}]")


def command(*words: object) -> str:
    """Return a command line of these words; a word that `override` made goes into the rest."""
    return " ".join(shlex.quote(str(word)) for word in words)


def plain_text(text: str) -> str:
    """Return a text as Hydra's grammar reads it back, in quotes only where it needs them."""
    if _PLAIN.fullmatch(text) and text.casefold() not in _WORDS:
        return text
    return quoted(without_interpolation(text))


def quoted(text: str) -> str:
    """Return a text in quotes of Hydra's grammar; `${key}` in it stays the value of a key."""
    quote = "'" if '"' in text and "'" not in text else '"'
    body = re.sub(
        rf"(\\*)({quote}|\Z)", lambda at: at[1] * 2 + (f"\\{quote}" if at[2] else ""), text
    )
    return f"{quote}{body}{quote}"


def without_interpolation(text: str) -> str:
    """Return a text in which OmegaConf takes `${` for these two characters."""
    return re.sub(r"(\\*)\$\{", lambda at: at[1] * 2 + r"\${", text)


def _written(value: object) -> str:
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
