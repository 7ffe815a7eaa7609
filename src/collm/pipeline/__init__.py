"""What the workflow asks of the package: what stages depend on, files, machines, origins of inputs, causes of failures."""
