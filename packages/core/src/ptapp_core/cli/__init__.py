"""The command line: from words to a settings object, and from an exception to one line and an exit code."""
