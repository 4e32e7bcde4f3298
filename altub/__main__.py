"""`python -m altub`."""

from altub.cli import main

if __name__ == "__main__":
    main()
