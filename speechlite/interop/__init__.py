"""Other people's checkpoints: what they hold as plain values, and back."""
