"""Sound, data directories, batches and labels; importing this package loads no torch."""
