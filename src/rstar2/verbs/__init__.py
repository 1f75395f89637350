"""One module per verb of the command line: what it does once its arguments are read."""
