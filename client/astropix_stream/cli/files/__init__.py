"""What the commands that read and write files share."""
