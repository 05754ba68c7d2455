"""A domain of the tests of the server: three numbers in, one of three classes out."""
