"""What the generative model has to beat, on the same split, with the same files out."""
