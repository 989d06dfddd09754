"""First rows of SID tokens: near the mean of text, at the titles below a code, or at its code vector."""

import numpy as np
import pytest
import torch
from models import TEXTS, save_foreign_model, text_tokenizer
from scipy.stats import spearmanr

from sidrec.models import make_model
from sidrec.sections import ModelConfig
from sidrec.sid_rows import NOISE, FromCodebooks, FromTitles

WORDS = text_tokenizer()
# Items 0 and 1 share the first code; code 2 of the first level and code 1 of the second have no item.
CODES = np.array([[0, 0], [0, 2], [1, 0]])
SIZES = (3, 3)
TITLES = ["red lamp", "red chair", "garden hose"]


def weight(rows=320, width=12, seed=0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def of_text(size=300, rows=320) -> torch.Tensor:
    return torch.arange(rows) < size


def tokens(*titles: str) -> list[int]:
    return [token for title in titles for token in WORDS(title, add_special_tokens=False)["input_ids"]]


def started(start, matrix, seed=0):
    torch.manual_seed(seed)
    return start(matrix, of_text(), WORDS)


def test_a_code_begins_at_the_mean_row_of_all_tokens_of_the_titles_below_it():
    matrix = weight()
    rows = started(FromTitles(SIZES, CODES, TITLES), matrix)
    below = [TITLES[:2], TITLES[2:], None, [TITLES[0], TITLES[2]], None, [TITLES[1]]]
    for row, titles in zip(rows, below, strict=True):
        if titles is not None:
            expected = matrix[tokens(*titles)].mean(0)
            # 12 numbers of deviation 0.1: they differ by 0.1 * sqrt(12) = 0.35 on average
            assert 0 < (row - expected).norm() < 3 * NOISE * 12**0.5


def test_the_noise_is_small_beside_the_differences_between_titles():
    matrix = weight()
    rows = started(FromTitles(SIZES, CODES, TITLES), matrix)
    means = torch.stack([matrix[tokens(*titles)].mean(0) for titles in (TITLES[:2], TITLES[2:])])
    assert torch.cdist(rows[:2], means).argmin(1).tolist() == [0, 1]


def test_codes_of_equal_titles_begin_apart():
    rows = started(FromTitles((2, 2), np.array([[0, 0], [1, 1]]), ["lamp", "lamp"]), weight())
    assert len(rows.unique(dim=0)) == 4


def test_a_code_without_items_begins_near_the_mean_of_text():
    matrix = weight() + 5
    rows = started(FromTitles(SIZES, CODES, TITLES), matrix)
    mean = matrix[of_text()].mean(0)
    for place in (2, 4):  # (level 0, code 2), (level 1, code 1)
        assert (rows[place] - mean).abs().max() < 0.5 * 5  # five of its standard deviations


def test_titles_of_no_tokens_count_as_no_items():
    rows = started(FromTitles((1, 1), np.array([[0, 0]]), [""]), weight() + 5)
    assert torch.isfinite(rows).all()
    assert ((rows > 2) & (rows < 8)).all()


def test_rows_beyond_those_of_text_are_not_averaged():
    matrix = weight()
    other = matrix.clone()
    other[300:] = 1e6
    first, second = (started(FromTitles(SIZES, CODES, TITLES), each) for each in (matrix, other))
    assert torch.equal(first, second)


def books(dimension=8, sizes=(16, 16), seed=0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    # The residuals of later levels are smaller.
    return [
        rng.normal(size=(size, dimension)).astype(np.float32) / 4**level for level, size in enumerate(sizes)
    ]


def cosines(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return (unit @ unit.T)[np.triu_indices(len(rows), 1)]


def test_code_vectors_keep_their_angles_about_the_mean_of_text():
    """Within a level and between levels; 8 dimensions fit into 12."""
    matrix = weight() + 3
    rows = started(FromCodebooks((16, 16), books()), matrix) - matrix[of_text()].mean(0)
    np.testing.assert_allclose(cosines(rows.numpy()), cosines(np.concatenate(books())), atol=1e-4)


def test_angles_between_rows_themselves_rank_as_those_of_code_vectors_do():
    matrix = weight()
    rows = started(FromCodebooks((16, 16), books()), matrix)
    assert spearmanr(cosines(rows.numpy()), cosines(np.concatenate(books()))).statistic > 0.98


def test_wider_code_vectors_than_the_model_keep_their_main_angles():
    """40 dimensions, of which 6 carry nearly everything, in a model of 12."""
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(30, 6)) @ rng.normal(size=(6, 40))).astype(np.float32)
    vectors += 0.1 * rng.normal(size=vectors.shape).astype(np.float32)
    matrix = weight()
    rows = started(FromCodebooks((30,), [vectors]), matrix) - matrix[of_text()].mean(0)
    assert spearmanr(cosines(rows.numpy()), cosines(vectors)).statistic > 0.99


def test_rows_of_every_level_are_as_far_from_the_mean_as_those_of_text():
    matrix = 0.02 * weight() + 3
    rows = started(FromCodebooks((16, 16), books()), matrix)
    mean = matrix[of_text()].mean(0)
    expected = (matrix[of_text()] - mean).norm(dim=1).mean()
    for level in rows.split(16):
        torch.testing.assert_close((level - mean).norm(dim=1).mean(), expected)


def test_a_level_without_code_vectors_begins_near_the_mean():
    matrix = weight() + 5
    rows = started(FromCodebooks((16, 16, 4), books()), matrix)
    assert len(rows) == 36
    assert (rows[32:] - matrix[of_text()].mean(0)).abs().max() < 0.5 * 5
    assert len(rows[32:].unique(dim=0)) == 4


def test_the_random_state_decides_the_rotation():
    first, same, other = (
        started(FromCodebooks((16, 16), books()), weight(), seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("tied", [True, False])
def test_input_and_output_rows_each_begin_at_their_own_titles(tied, tmp_path):
    save_foreign_model(tmp_path, tie_word_embeddings=tied)
    start = FromTitles(SIZES, CODES, TITLES)
    model, _, vocabulary = make_model(
        ModelConfig(path=str(tmp_path)), [], SIZES, max_positions=64, seed=0, start=start
    )
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        row = layer.weight[vocabulary.token_ids[1][2]]  # of item 1 alone
        expected = layer.weight[tokens(TITLES[1])].mean(0)
        scale = layer.weight[:300].std(0).norm()
        assert (row - expected).norm() < 3 * NOISE * scale


def test_a_preset_can_begin_at_code_vectors():
    sizes = (16, 16)
    settings = ModelConfig(text_vocabulary_size=300)
    start = FromCodebooks(sizes, books())
    model, _, vocabulary = make_model(settings, TEXTS, sizes, max_positions=64, seed=0, start=start)
    ids = [token for level in vocabulary.token_ids for token in level]
    rows = model.get_input_embeddings().weight[ids].detach().numpy()
    assert spearmanr(cosines(rows), cosines(np.concatenate(books()))).statistic > 0.98
