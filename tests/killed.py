"""`python killed.py MOMENT TIMES ARGUMENT...` is `sidrec ARGUMENT...`, killed as it enters a function.

A moment is a function's dotted path; the process ends by SIGKILL when it is entered for the TIMESth time.
"""

import os
import pkgutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch


@contextmanager
def entering(moment: str, times: int, end: Callable[[], Any]) -> Iterator[None]:
    """Call `end` as the function is entered for the `times`th time; the calls before are its own."""
    function = pkgutil.resolve_name(moment)
    entered = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal entered
        entered += 1
        if entered == times:
            end()
        return function(*arguments, **options)

    with patch(moment, counted):
        yield


if __name__ == "__main__":
    from sidrec.cli import main

    moment, times, *arguments = sys.argv[1:]
    sys.argv = ["sidrec", *arguments]
    with entering(moment, int(times), lambda: os.kill(os.getpid(), signal.SIGKILL)):
        main()
