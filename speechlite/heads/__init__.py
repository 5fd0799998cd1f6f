"""Heads: hidden states to the predictions of one downstream task."""
