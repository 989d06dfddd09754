"""`python -m sidrec` is `sidrec`."""

from sidrec.cli import main

if __name__ == "__main__":
    main()
