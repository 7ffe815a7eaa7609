"""The command `collm`."""
