"""`python -m validate` is the command `specmath`."""

from validate.cli import main

main()
