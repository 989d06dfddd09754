"""Every option of an RQ-VAE does what it says: gradients, averages, standardization, losses, networks."""

import numpy as np
import pytest
import torch
from torch import nn

from tokenizer.neural.autoencoder import Autoencoder
from tokenizer.neural.ema import MovingAverages
from tokenizer.neural.networks import MLP
from tokenizer.neural.quantize import ResidualQuantizer, rotated, straight_through
from tokenizer.neural.standardization import Standardization
from tokenizer.neural.train import RECONSTRUCTION, fit_rqvae
from tokenizer.settings import RQVAESettings

SMALL = RQVAESettings(codebook_sizes=(6, 5), latent_dim=3, hidden_dims=(16,), epochs=12, batch_size=32)


def changed(**settings: object) -> RQVAESettings:
    return RQVAESettings(**{**SMALL.__dict__, **settings})


def vectors(num_items: int = 120, width: int = 8) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, width))
    return (centres[np.arange(num_items) % 10] + 0.2 * rng.normal(size=(num_items, width))).astype(np.float32)


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_norm": True},
        {"gradient": "rotation"},
        {"codebook_update": "ema", "ema_decay": 0.9},
        {"reconstruction_loss": "l1"},
        {"reconstruction_loss": "cosine"},
        {"standardization": "dimension"},
        {"standardization": "whiten"},
        {"standardization": "none"},
        {"hidden_dims": (16, 12, 8)},
        {"commitment_weight": 1.0},
        {"schedule": "cosine"},
    ],
    ids=str,
)
def test_an_option_gives_another_model_and_the_same_one_each_time(settings) -> None:
    plain, one, two = (
        fit_rqvae(vectors(), each).model for each in (SMALL, changed(**settings), changed(**settings))
    )
    for book, again in zip(one.codebooks(), two.codebooks(), strict=True):
        assert book.tobytes() == again.tobytes()
    assert not np.array_equal(plain.codebooks()[0], one.codebooks()[0])
    assert np.isfinite(one.decode(one.encode(vectors()))).all()


@pytest.mark.parametrize("settings", [{"batch_norm": True}, {"standardization": "whiten"}], ids=str)
def test_a_model_with_further_state_comes_back_exactly(settings, tmp_path) -> None:
    model = fit_rqvae(vectors(), changed(**settings)).model
    model.save(tmp_path / "model.safetensors")
    again = Autoencoder.load(tmp_path / "model.safetensors")
    assert again.latents(vectors()).tobytes() == model.latents(vectors()).tobytes()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"gradient": "none"}, 'gradient is "none", expected one of straight_through, rotation'),
        ({"codebook_update": "x"}, 'codebook_update is "x", expected one of loss, ema'),
        ({"reconstruction_loss": "l2"}, 'reconstruction_loss is "l2", expected one of mse, l1, cosine'),
        ({"standardization": "zca"}, 'standardization is "zca", expected one of scale, dimension, whiten'),
        ({"ema_decay": 1.0}, r"ema_decay must be in \[0, 1\), got 1.0"),
        ({"schedule": "linear"}, 'schedule is "linear", expected one of constant, cosine'),
        ({"max_steps": 0}, "max_steps must be 1 or more, got 0"),
    ],
)
def test_choices_that_do_not_exist_are_refused(setting, message) -> None:
    with pytest.raises(ValueError, match=message):
        changed(**setting)


def test_training_stops_after_the_pass_in_which_the_steps_run_out() -> None:
    """120 items in batches of 32 are 4 steps a pass; the 9th step begins the third pass, the last."""
    assert len(fit_rqvae(vectors(), changed(max_steps=9)).history) == 3


def test_a_cosine_schedule_lets_the_training_come_to_rest() -> None:
    """All rows in one batch, so that losses change by learning alone; the last rate is 1/650 of the first."""
    moved = {}
    for schedule in ("constant", "cosine"):
        settings = changed(schedule=schedule, epochs=40, batch_size=120)
        losses = [entry["loss"] for entry in fit_rqvae(vectors(), settings).history]
        moved[schedule] = abs(losses[-1] - losses[-2])
    assert moved["cosine"] < 0.1 * moved["constant"]


# The gradient past the codes


def test_straight_through_gives_the_quantized_value_and_hands_the_gradient_on() -> None:
    latents = torch.tensor([[1.0, 2.0]], requires_grad=True)
    passed = straight_through(latents, torch.tensor([[3.0, -1.0]]))
    assert passed.tolist() == [[3.0, -1.0]]
    (passed * torch.tensor([[5.0, 7.0]])).sum().backward()
    assert latents.grad.tolist() == [[5.0, 7.0]]


def test_the_rotation_turns_and_scales_the_gradient_as_the_latent() -> None:
    """(1, 0) goes to (0, 2): a quarter turn to the left, twice as long; so the gradient (1, 0) of the output
    comes back turned to the right, (0, -2).
    """
    latents = torch.tensor([[1.0, 0.0]], requires_grad=True)
    passed = rotated(latents, torch.tensor([[0.0, 2.0]]))
    assert passed[0].tolist() == pytest.approx([0, 2], abs=1e-6)
    (passed * torch.tensor([[1.0, 0.0]])).sum().backward()
    assert latents.grad[0].tolist() == pytest.approx([0, -2], abs=1e-6)


def test_the_rotation_keeps_angles_and_is_the_quantized_value_in_any_dimension() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(50, 7, generator=generator, requires_grad=True)
    quantized = torch.randn(50, 7, generator=generator)
    pulled = torch.randn(50, 7, generator=generator)
    passed = rotated(latents, quantized)
    torch.testing.assert_close(passed, quantized, atol=1e-5, rtol=1e-4)
    (passed * pulled).sum().backward()
    cosine = nn.functional.cosine_similarity
    torch.testing.assert_close(
        cosine(latents.grad, latents.detach()), cosine(pulled, quantized), atol=1e-4, rtol=1e-3
    )
    scales = quantized.norm(dim=1) / latents.detach().norm(dim=1)
    torch.testing.assert_close(latents.grad.norm(dim=1), scales * pulled.norm(dim=1), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("latent", "quantized"), [([0.0, 0.0], [1.0, 1.0]), ([1.0, 0.0], [0.0, 0.0]), ([1.0, 0.0], [-2.0, 0.0])]
)
def test_without_an_angle_the_gradient_goes_straight_through(latent, quantized) -> None:
    latents = torch.tensor([latent], requires_grad=True)
    passed = rotated(latents, torch.tensor([quantized]))
    assert passed[0].tolist() == pytest.approx(quantized)
    passed.sum().backward()
    assert latents.grad.tolist() == [[1.0, 1.0]]


# Moving averages


def test_code_vectors_move_to_the_mean_of_their_residuals() -> None:
    """With decay .5: counts 1 -> .5 + .5 x 2 = 1.5, sums 0 -> .5 x (2 + 4) = 3, vector 3 / 1.5 = 2."""
    quantizer = ResidualQuantizer((2,), 1, generator=torch.Generator())
    quantizer.codebooks[0].data = torch.tensor([[0.0], [10.0]])
    averages = MovingAverages(quantizer, decay=0.5)
    averages.update(torch.tensor([[2.0], [4.0]]), torch.tensor([[0], [0]]))
    # The other code had nothing: count .5, sum 5, vector 10 as it was.
    assert quantizer.codebooks[0][:, 0].tolist() == pytest.approx([2, 10], rel=1e-3)


def test_each_level_averages_what_the_levels_before_left() -> None:
    quantizer = ResidualQuantizer((1, 1), 1, generator=torch.Generator())
    quantizer.codebooks[0].data = torch.tensor([[3.0]])
    quantizer.codebooks[1].data = torch.tensor([[0.0]])
    averages = MovingAverages(quantizer, decay=0.0)
    averages.update(torch.tensor([[5.0], [9.0]]), torch.tensor([[0, 0], [0, 0]]))
    assert quantizer.codebooks[0].item() == pytest.approx(7)  # the mean of 5 and 9
    assert quantizer.codebooks[1].item() == pytest.approx(4)  # the mean of 5 - 3 and 9 - 3


def test_no_gradient_moves_codebooks_that_follow_averages() -> None:
    """At a rate of nearly 0 the averages alone move them."""
    still = fit_rqvae(vectors(), changed(learning_rate=1e-12, epochs=3)).model
    moved = fit_rqvae(
        vectors(), changed(learning_rate=1e-12, epochs=3, codebook_update="ema", ema_decay=0.5)
    ).model
    start = fit_rqvae(vectors(), changed(learning_rate=1e-12, epochs=1)).model
    np.testing.assert_allclose(still.codebooks()[0], start.codebooks()[0], atol=1e-6)
    assert np.abs(moved.codebooks()[0] - start.codebooks()[0]).max() > 1e-4


def test_a_revived_code_begins_its_average_anew() -> None:
    quantizer = ResidualQuantizer((2,), 1, generator=torch.Generator())
    averages = MovingAverages(quantizer, decay=0.5)
    averages.counts[0].fill_(100)
    quantizer.codebooks[0].data = torch.tensor([[4.0], [6.0]])
    averages.restart(0, torch.tensor([1]))
    assert averages.counts[0].tolist() == [100, 1]
    assert averages.sums[0][1].item() == 6


# Standardization


@pytest.mark.parametrize("kind", ["scale", "dimension", "whiten", "none"])
def test_what_is_standardized_comes_back(kind) -> None:
    data = vectors() * np.linspace(1, 9, 8, dtype=np.float32) + 2
    standardization = Standardization(kind, 8)
    standardization.fit(data)
    there = standardization(torch.from_numpy(data))
    np.testing.assert_allclose(standardization.invert(there).numpy(), data, rtol=1e-4, atol=1e-4)


def test_each_kind_gives_the_moments_that_it_promises() -> None:
    data = vectors() * np.linspace(1, 9, 8, dtype=np.float32) + 2
    covariance = {}
    for kind in ("scale", "dimension", "whiten", "none"):
        standardization = Standardization(kind, 8)
        standardization.fit(data)
        there = standardization(torch.from_numpy(data)).numpy()
        covariance[kind] = np.cov(there.T, bias=True)
        assert np.allclose(there.mean(axis=0), 0, atol=1e-4) == (kind != "none")
    assert np.trace(covariance["scale"]) == pytest.approx(8, rel=1e-4)
    np.testing.assert_allclose(np.diag(covariance["dimension"]), 1, rtol=1e-3)
    np.testing.assert_allclose(covariance["whiten"], np.eye(8), atol=1e-3)
    np.testing.assert_allclose(covariance["none"], np.cov(data.T, bias=True), rtol=1e-4)


@pytest.mark.parametrize("kind", ["scale", "dimension", "whiten"])
def test_vectors_that_do_not_vary_are_not_divided_by_0(kind) -> None:
    data = np.ones((5, 3), np.float32)
    data[:, 0] = [1, 2, 3, 4, 5]
    for given in (np.ones((5, 3), np.float32), data):
        standardization = Standardization(kind, 3)
        standardization.fit(given)
        assert torch.isfinite(standardization(torch.from_numpy(given))).all()


# Networks and losses


def test_a_residual_network_begins_as_the_identity() -> None:
    network = MLP([4, 6, 4], generator=torch.Generator().manual_seed(0), residual=True)
    rows = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(network(rows), rows)


def test_batch_normalization_stands_before_each_activation_and_not_at_the_end() -> None:
    network = MLP([4, 6, 5, 2], generator=torch.Generator(), batch_norm=True)
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]


def test_a_residual_model_needs_latents_as_wide_as_the_embeddings() -> None:
    with pytest.raises(
        ValueError, match=r"latents are as wide as the embeddings, 8; tokenizer\.latent_dim is 3"
    ):
        Autoencoder(changed(residual=True), 8)


def test_the_reconstruction_losses_are_means_over_items() -> None:
    made, given = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[3.0, 0.0], [0.0, 5.0]])
    losses = {name: loss(made, given).item() for name, loss in RECONSTRUCTION.items()}
    # Squares 4, 0, 4, 25 and absolutes 2, 0, 2, 5 over four numbers; cosines 1 and 0.
    assert losses == pytest.approx({"mse": 33 / 4, "l1": 9 / 4, "cosine": 0.5})
