"""What the commands do: build, train, compress, evaluate, profile, compare."""
