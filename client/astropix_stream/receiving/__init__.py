"""What every receiver shares, whatever its batches come from."""
