"""`python -m layerkit` is the `layerkit` command."""

from layerkit.cli.main import main

if __name__ == "__main__":
    main()
