#!/usr/bin/env bash
# Every figure of docs/results.md on MovieLens 100K, from the data to the tables.
# A night on 2 cores without a GPU; stopped, it goes on where it was. `make install data` comes first.
set -euo pipefail
cd "$(dirname "$0")/.."
exec scripts/reproduce.sh ml-100k
