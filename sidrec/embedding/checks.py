"""What vectors must be, wherever they come from."""

from __future__ import annotations

import numpy as np

from sidrec.errors import ConfigError


def require_usable_rows(vectors: np.ndarray, setting: str) -> None:
    """Raise for rows that are not finite or all zeros: nothing can be told from them."""
    for problem, bad in (
        ("NaN or infinity", ~np.isfinite(vectors).all(axis=1)),
        ("only zeros", ~vectors.any(axis=1)),
    ):
        if bad.any():
            rows = np.flatnonzero(bad)
            shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
            raise ConfigError(
                f"{setting} gives {problem} in {len(rows)} of {len(vectors)} rows: {shown} (the first item "
                "is row 0), expected finite vectors that are not zero. Compute these rows again."
            )
