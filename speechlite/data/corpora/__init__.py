"""Corpora as Kaldi-style directories: the synthetic mini corpus and LibriSpeech."""
