"""`python -m altub`."""

from altub.cli.app import main

if __name__ == "__main__":
    main()
