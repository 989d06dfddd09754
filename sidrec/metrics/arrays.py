"""The arrays that metrics are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PADDING = -1
"""Where a list has fewer than M items, its row ends in these."""

IntArray = NDArray[np.integer]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
