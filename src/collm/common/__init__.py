"""What every layer uses: errors, files, progress, the command line of stages."""
