"""Passes of the Llama family without padding: sequences in one row, adapters of several agents in one product."""
