#!/usr/bin/env bash
# Every figure of docs/results.md on Amazon Industrial and Scientific, from the data to the tables.
# A night on 2 cores without a GPU; stopped, it goes on where it was. `make install data` comes first.
set -euo pipefail
cd "$(dirname "$0")/.."
exec scripts/reproduce.sh scientific
