"""Real models and running servers, turned into the nouns of `specmath`: measure, fit, predict, compare."""
