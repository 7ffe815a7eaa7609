"""Episodes, updates, the training loop, warm start and evaluation."""
