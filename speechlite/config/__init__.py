"""Configuration: YAML and overrides to typed values."""
