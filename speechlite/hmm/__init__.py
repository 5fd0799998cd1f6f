"""Kaldi-style DNN-HMM speech recognition from wheels."""
