"""The verbs of the command line, one a function; ``mlensing.cli`` chooses among them."""
