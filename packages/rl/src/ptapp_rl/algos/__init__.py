"""The algorithms, one file each; `build` makes the chosen one from the settings."""
