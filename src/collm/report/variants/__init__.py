"""Variants of an experiment beside each other: paired differences and curves."""
