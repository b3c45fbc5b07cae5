"""The relay's configuration: YAML text to a checked value, or every mistake in it at once."""
