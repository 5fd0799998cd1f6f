"""Compressors: a model rewritten into a cheaper one."""
