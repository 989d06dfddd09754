"""Training loops for SFT and RL, on top of transformers and TRL."""
