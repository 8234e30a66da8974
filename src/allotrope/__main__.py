"""`python -m allotrope`: the command line, where no script is installed."""

from allotrope.cli.main import main

main()
