"""From a source of rows (embedded, a folder, the hub) to the files that training and evaluation read."""
