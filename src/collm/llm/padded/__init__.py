"""Passes of any causal model of transformers: sequences padded to one length."""
