"""Encoders: frames to the hidden states of every layer."""
