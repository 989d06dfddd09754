"""Compare results over the same users: `sidrec compare`.

`results` reads one result directory, `groups` the arguments of the command (several seeds are one group),
`labels` names them, `differences` does the statistics, `table` puts them into text, Markdown and JSON.
"""

from sidrec.comparison.differences import Comparison, compare

__all__ = ["Comparison", "compare"]
