"""The parts of an RQ-VAE, and their training by gradients.

autoencoder.py      encoder -> residual quantizer -> decoder; a pure module with save and load
networks.py         the encoder and the decoder
standardization.py  vectors as they see them
quantize.py         residual quantizer: nearest code, gradient past it, losses, k-means start, revival
ema.py              codebooks that follow moving averages
train.py            fit_rqvae: the training, in Lightning
alignment.py        LETTER's two losses
quiet_training.py   what small trainings in Lightning have in common
"""
