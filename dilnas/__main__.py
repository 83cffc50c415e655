"""``python -m dilnas``."""

from dilnas.cli import main

if __name__ == "__main__":
    main()
