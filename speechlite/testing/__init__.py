"""The public conformance suite for authors of plugins."""
