"""Cooperative programming: a helper and a main function, scored by running tests in the sandbox."""
