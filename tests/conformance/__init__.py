"""What conformance/ holds: written by hand here, from docs/protocol.md, and not by our own code."""
