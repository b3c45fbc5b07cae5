"""Pure: which readouts came, which did not, and where they were lost."""
