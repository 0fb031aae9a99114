"""One file per engine, with all that is known of that engine: the flags to paste for a plan, by `emit`."""
