"""Check what a person wrote into a file, as a whole: every mistake at once, with its line. Pure."""
