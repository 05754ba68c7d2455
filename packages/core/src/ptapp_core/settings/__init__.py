"""Typed settings: a command line, a TOML file and defaults become one frozen object. Nothing here imports torch."""
