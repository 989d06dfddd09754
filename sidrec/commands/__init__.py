"""Commands that `sidrec.cli` only names, and what the commands share."""
