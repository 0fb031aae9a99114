"""What the subcommands do, one file each; the command line itself is `validate/cli.py`."""
