"""Metrics of downstream tasks."""
