"""What the commands that send readouts share: a simulated detector, recorded runs, and their timing."""
