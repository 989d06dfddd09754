"""One HTML file about a run, for who sells the items and for who must trust the table: `sidrec report`.

Each section has a module that gathers its facts as plain dataclasses from what the run's stages wrote.
`plots` is how figures look, `drawings` which there are, `page` puts all into the templates, `writing` into a
file.
"""

from sidrec.report.writing import write_report

__all__ = ["write_report"]
