#!/usr/bin/env python3
"""Link the public data sets that lie in ../shared/data into data/; say where the others come from.

Usage: python scripts/link_data.py        (or: make data)
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT.parent / "shared" / "data"
ORIGINS = {
    "scientific": "github.com/Nishikata97/CollisionGenRec: Scientific.item.json and Scientific.inter.json "
    "(Amazon Reviews 2018, Industrial and Scientific, 5-core)",
    "ml-100k": "github.com/RUCAIBox/RecSysDatasets: ml-100k.inter, .item and .user (RecBole atomic files)",
    "minionerec-industrial": "github.com/AkaliKong/MiniOneRec: data/Amazon, Industrial_and_Scientific "
    "(index, info, valid, test)",
}


def main() -> None:
    """Link what is there, name what is not."""
    (ROOT / "data").mkdir(exist_ok=True)
    for name, origin in ORIGINS.items():
        place = ROOT / "data" / name
        if place.exists():
            print(f"data/{name}: there")
        elif (SOURCE / name).is_dir():
            place.unlink(missing_ok=True)  # a link to nowhere
            place.symlink_to(Path("..") / ".." / "shared" / "data" / name)
            print(f"data/{name}: linked")
        else:
            print(f"data/{name}: absent. Get it from {origin}, and put it there.")


if __name__ == "__main__":
    main()
