"""Configuration: files are loaded and checked (`load`), then resolved to one block of settings per job (`resolve`)."""
