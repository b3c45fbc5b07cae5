"""The one place that holds the program's version."""

__version__ = "0.2.0"
