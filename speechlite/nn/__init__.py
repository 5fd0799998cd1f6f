"""Blocks of speech encoders, one concept a file; nothing here sees a config."""
