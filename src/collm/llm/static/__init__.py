"""Decoding in fixed shapes: a cache of a fixed size, no look at the device within a step, CUDA graphs where there are
any."""
