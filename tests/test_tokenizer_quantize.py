"""The residual quantizer, on codebooks small enough to compute by hand."""

import pytest
import torch

from tokenizer.neural.quantize import ResidualQuantizer, nearest_codes


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def quantizer_of(*codebooks: list[list[float]]) -> ResidualQuantizer:
    sizes = [len(codebook) for codebook in codebooks]
    quantizer = ResidualQuantizer(sizes, len(codebooks[0][0]), generator=generator())
    with torch.no_grad():
        for parameter, codebook in zip(quantizer.codebooks, codebooks, strict=True):
            parameter.copy_(torch.tensor(codebook))
    return quantizer


TWO_LEVELS = ([[0.0, 0.0], [4.0, 0.0]], [[0.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])


def test_the_nearest_code_has_the_least_squared_distance():
    codebook = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    rows = torch.tensor([[2.0, 0.0], [0.5, 0.4], [1.0, 2.5]])
    assert nearest_codes(rows, codebook).tolist() == [1, 0, 2]


def test_each_level_encodes_what_the_levels_before_left_over():
    # (3, .2): nearest of level a is (4, 0), left over (-1, .2), nearest of level b is (-1, 0).
    # (.1, .9): (0, 0), left over the same, (0, 1).
    codes = quantizer_of(*TWO_LEVELS).encode(torch.tensor([[3.0, 0.2], [0.1, 0.9]]))
    assert codes.tolist() == [[1, 2], [0, 1]]


def test_decoding_sums_code_vectors():
    assert quantizer_of(*TWO_LEVELS).decode(torch.tensor([[1, 2], [0, 1]])).tolist() == [
        [3.0, 0.0],
        [0.0, 1.0],
    ]


def test_the_losses_are_sums_over_levels_of_mean_squares():
    # (3, .2) to (4, 0): (1 + .04) / 2 = .52. The rest (-1, .2) to (-1, 0): (0 + .04) / 2 = .02. Together .54.
    quantized = quantizer_of(*TWO_LEVELS)(torch.tensor([[3.0, 0.2]]))
    assert quantized.codebook_loss.item() == pytest.approx(0.54)
    assert quantized.commitment_loss.item() == pytest.approx(0.54)


def test_quantized_latents_pass_the_gradient_straight_through():
    latents = torch.tensor([[3.0, 0.2]], requires_grad=True)
    quantized = quantizer_of(*TWO_LEVELS)(latents)
    assert torch.allclose(quantized.latents, torch.tensor([[3.0, 0.0]]))
    (quantized.latents * torch.tensor([[2.0, -5.0]])).sum().backward()
    assert latents.grad.tolist() == [[2.0, -5.0]]


def test_the_codebook_loss_moves_codebooks_only_and_the_commitment_loss_latents_only():
    quantizer = quantizer_of(*TWO_LEVELS)
    latents = torch.tensor([[3.0, 0.2]], requires_grad=True)
    quantizer(latents).codebook_loss.backward()
    assert latents.grad is None
    # d/dc mean((c - r)^2) = c - r for two dimensions: (4, 0) - (3, .2) and (-1, 0) - (-1, .2).
    assert torch.allclose(quantizer.codebooks[0].grad, torch.tensor([[0.0, 0.0], [1.0, -0.2]]))
    assert torch.allclose(
        quantizer.codebooks[1].grad, torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, -0.2]]), atol=1e-6
    )
    quantizer.zero_grad()
    quantizer(latents).commitment_loss.backward()
    assert all(codebook.grad is None for codebook in quantizer.codebooks)
    assert latents.grad is not None


def test_initialization_finds_the_clusters():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    latents = centres.repeat(20, 1) + 0.01 * torch.randn(60, 2, generator=generator())
    quantizer = ResidualQuantizer([3, 4], 2, generator=generator())
    quantizer.initialize(latents, seed=0)
    distances = torch.cdist(centres, quantizer.codebooks[0].detach())
    assert float(distances.min(dim=1).values.max()) < 0.1
    # The second level is on the residuals, which are small.
    assert float(quantizer.codebooks[1].detach().abs().max()) < 0.1


def test_initialization_of_a_large_catalogue_looks_at_a_sample(monkeypatch):
    monkeypatch.setattr("tokenizer.neural.quantize.KMEANS_ROWS_PER_CODE", 4)
    quantizer = ResidualQuantizer([2], 2, generator=generator())
    quantizer.initialize(torch.randn(500, 2, generator=generator()), seed=0)
    assert len(quantizer.codebooks[0].unique(dim=0)) == 2


def test_fewer_distinct_latents_than_codes_all_get_a_code_vector_of_their_own():
    latents = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    quantizer = ResidualQuantizer([8, 8], 2, generator=generator())
    quantizer.initialize(latents, seed=0)
    for codebook in quantizer.codebooks:
        assert torch.isfinite(codebook).all()
        assert len(codebook.unique(dim=0)) == 8
    assert torch.allclose(quantizer.decode(quantizer.encode(latents)), latents, atol=1e-6)


def test_equal_latents_can_be_initialized_and_revived():
    latents = torch.full((5, 3), 2.0)
    quantizer = ResidualQuantizer([4, 4], 3, generator=generator())
    quantizer.initialize(latents, seed=0)
    quantizer.revive(latents, [torch.tensor([1, 2, 3]), torch.arange(4)], generator=generator())
    assert all(bool(torch.isfinite(codebook).all()) for codebook in quantizer.codebooks)


def test_initialization_is_done_once_and_the_buffer_survives_a_reload():
    latents = torch.randn(40, 2, generator=generator())
    quantizer = ResidualQuantizer([4], 2, generator=generator())
    assert not bool(quantizer.initialized)
    quantizer.initialize(latents, seed=0)
    loaded = ResidualQuantizer([4], 2, generator=generator(1))
    loaded.load_state_dict(quantizer.state_dict())
    loaded.initialize(latents + 100, seed=1)
    assert torch.equal(loaded.codebooks[0], quantizer.codebooks[0])


def test_initialization_with_the_same_seed_gives_the_same_bytes():
    latents = torch.randn(3000, 8, generator=generator())
    first, second = (ResidualQuantizer([16, 16], 8, generator=generator()) for _ in range(2))
    first.initialize(latents, seed=3)
    torch.rand(7)
    second.initialize(latents, seed=3)
    for one, other in zip(first.codebooks, second.codebooks, strict=True):
        assert one.detach().numpy().tobytes() == other.detach().numpy().tobytes()


def test_a_dead_code_moves_to_where_the_error_is_and_the_others_stay():
    latents = torch.cat([torch.zeros(50, 2), torch.full((1, 2), 9.0)])
    quantizer = quantizer_of([[0.0, 0.0], [-500.0, 0.0], [0.0, -500.0]])
    quantizer.revive(latents, [torch.tensor([1])], generator=generator())
    codebook = quantizer.codebooks[0].detach()
    assert torch.allclose(codebook[1], torch.tensor([9.0, 9.0]), atol=0.1)
    assert codebook[[0, 2]].tolist() == [[0.0, 0.0], [0.0, -500.0]]
    assert quantizer.encode(latents)[-1].item() == 1
