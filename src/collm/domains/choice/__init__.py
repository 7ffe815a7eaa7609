"""Multiple choice: a solver and a checker agree on a letter."""
