"""The steps of DNN-HMM evaluation: lang, lm, gmm, tdnn, graph, decode, rescore."""
