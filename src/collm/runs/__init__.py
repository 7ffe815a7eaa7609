"""What every long run needs: checkpoints, signals, processes, a record of itself."""
