"""What the workflow asks: what stages depend on, files, machines, origins of inputs, causes of failures."""
