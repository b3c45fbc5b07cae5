"""What all commands share: options, how a command ends, progress, and the sources that they read."""
