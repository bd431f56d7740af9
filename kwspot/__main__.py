"""`python -m kwspot`: the same as the console script."""

from kwspot.cli import main

main()
