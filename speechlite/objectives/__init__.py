"""Objectives: a training signal from a model and a batch."""
