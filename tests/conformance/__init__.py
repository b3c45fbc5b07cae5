"""What conformance/ holds, as Python: it is written by hand here, from docs/protocol.md, not by our own code."""
