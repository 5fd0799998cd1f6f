"""Contracts that every component and the engine agree on; importing this package loads no torch."""
