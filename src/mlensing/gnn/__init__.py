"""The graph network's room; until it is built, the address of the operators it shares."""
