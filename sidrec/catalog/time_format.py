"""What a time format, in strptime's notation, must be for dates to be read by it."""

from __future__ import annotations

import re

_KNOWN = "YymbBdjHIMSfpzZaA%"
_NEEDS = {
    "d": ("mbB", "a month, %m (%M are minutes)"),
    "M": ("HI", "hours, %H (the month is %m)"),
    "S": ("M", "minutes, %M"),
    "f": ("S", "seconds, %S"),
    "I": ("p", "AM or PM, %p (hours up to 23 are %H)"),
    "p": ("I", "hours up to 12, %I"),
}


def fault_of(time_format: str) -> str | None:
    """Say what is wrong with a format; None if it describes dates."""
    parts = re.findall(r"%(.?)", time_format, re.DOTALL)
    for part in parts:
        if not part or part not in _KNOWN:
            known = ", ".join(f"%{each}" for each in _KNOWN)
            return f"%{part} stands for nothing, expected of strptime's directives {known}"
        if part != "%" and parts.count(part) > 1:
            return f"%{part} is there twice, expected once"
    if len([part for part in parts if part in "Yy"]) != 1:
        return "expected a year in it, %Y (2024) or %y (24), such as %d/%m/%Y %H:%M"
    for part, (wanted, words) in _NEEDS.items():
        if part in parts and not set(wanted) & set(parts):
            return f"%{part} is there without {words}"
    return None
