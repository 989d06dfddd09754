"""Sequential baselines, on a ring of items whose order is known: item i is followed by item i + 1."""

import json
import math
import random
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import toy
from pydantic import ValidationError

from sidrec.baselines.config import GRU4RecConfig, SASRecBCEConfig, SASRecConfig
from sidrec.baselines.fitting import (
    fit_gru4rec,
    fit_sasrec,
    fit_sasrec_bce,
    fit_sequential,
)
from sidrec.baselines.gru4rec import GRU4Rec
from sidrec.baselines.ranking import rank_by_scores
from sidrec.baselines.sasrec import SASRec
from sidrec.baselines.sequences import WindowBatches, pad_right, train_windows
from sidrec.baselines.sequential import (
    Positions,
    bce_loss,
    draw_negatives,
    sampled_bce_loss,
    score_with,
    softmax_loss,
)
from sidrec.baselines.validation import evaluate, ranks_by_count
from sidrec.baselines.weights import load_sequential, save_sequential
from sidrec.catalog import Catalog, EvaluationRows, SplitConfig, split_catalog
from sidrec.errors import ArtifactError, CatalogError, ConfigError
from sidrec.metrics import metrics_at_k, target_ranks

SMALL = {
    "hidden_dim": 16,
    "dropout": 0.1,
    "learning_rate": 1e-2,
    "batch_size": 8,
    "max_history": 6,
    "patience": 100,
}
FITS = {
    "sasrec": (fit_sasrec, SASRecConfig(epochs=25, **SMALL)),
    "sasrec_bce": (fit_sasrec_bce, SASRecBCEConfig(epochs=15, **SMALL)),
    "gru4rec": (fit_gru4rec, GRU4RecConfig(epochs=20, **SMALL)),
}


@pytest.fixture(scope="module")
def split():
    return split_catalog(Catalog(toy.items(), toy.interactions()), SplitConfig())


@pytest.fixture(scope="module", params=FITS)
def fitted(request, split):
    fit, settings = FITS[request.param]
    return fit(split, toy.NUM_ITEMS, settings, seed=0)


@pytest.fixture(params=[SASRec, GRU4Rec])
def untrained(request):
    settings = (SASRecConfig if request.param is SASRec else GRU4RecConfig)(**SMALL)
    return request.param(toy.NUM_ITEMS, settings, seed=3).eval()


def bytes_of(model) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


# Windows and batches


def test_every_item_but_the_first_is_the_target_of_one_window():
    sequence = np.arange(10, 17)
    windows = train_windows([sequence, np.array([5]), np.array([7, 8])], max_history=4)
    # 7 items: the newest window is [12 .. 15] -> 16; the rest of the targets, 11 and 12, are the older one's
    assert [window.tolist() for window in windows] == [[12, 13, 14, 15, 16], [10, 11, 12], [7, 8]]


@pytest.mark.parametrize("length", range(2, 12))
def test_no_target_is_lost_or_seen_twice_whatever_the_length(length):
    windows = train_windows([np.arange(length)], max_history=3)
    assert sorted(item for window in windows for item in window[1:]) == list(range(1, length))
    assert max(len(window) for window in windows) <= 4


def test_rows_are_padded_on_the_right():
    rows = pad_right([np.array([3, 1]), np.array([], dtype=np.int64), np.array([0, 2, 4])], padding=9)
    assert rows.tolist() == [[3, 1, 9], [9, 9, 9], [0, 2, 4]]


def test_windows_of_like_length_share_a_batch():
    windows = [np.arange(length) for length in (2, 9, 3, 8, 2, 9)]
    batches = [batch.items for batch in WindowBatches(windows, 2, padding=99, seed=0)]
    assert sorted((batch != 99).sum(dim=1).tolist() for batch in batches) == [[2, 2], [3, 8], [9, 9]]
    assert sorted(batch.shape[1] for batch in batches) == [2, 8, 9]


def test_an_epoch_has_every_window_once_in_an_order_that_the_seed_gives():
    windows = [np.array([item, item + 1]) for item in range(20)]

    def two_epochs(seed: int) -> list[list[int]]:
        batches = WindowBatches(windows, 4, padding=99, seed=seed)
        assert len(list(batches)) == len(batches) == 5
        return [[item for batch in batches for item in batch.items[:, 0].tolist()] for _ in range(2)]

    first, second = two_epochs(0)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert two_epochs(0) == [first, second]
    assert two_epochs(1) != [first, second]


def test_weights_stand_beside_their_items_and_are_none_without_any():
    sequences = [np.arange(start, start + length) for start, length in ((0, 9), (10, 4), (20, 2), (30, 1))]
    windows = train_windows(sequences, max_history=3)
    weights = train_windows([sequence / np.float32(4) for sequence in sequences], max_history=3)
    batches = list(WindowBatches(windows, 2, padding=99, seed=0, weights=weights))
    for batch in batches:
        is_item = batch.items != 99
        assert batch.weights.dtype == torch.float32
        assert torch.equal(batch.weights[is_item], batch.items[is_item] / 4)
    without = list(WindowBatches(windows, 2, padding=99, seed=0))
    assert [batch.items.tolist() for batch in without] == [batch.items.tolist() for batch in batches]
    assert {batch.weights for batch in without} == {None}


# Losses


def literal_positions(weights: torch.Tensor | None = None) -> Positions:
    """Two positions, three items; scores (2, 0, 1) and (0, 1, -1)."""
    return Positions(
        states=torch.tensor([[2.0, 0.0], [0.0, 1.0]]),
        targets=torch.tensor([0, 2]),
        windows=torch.tensor([[1, 3], [1, 0]]),
        item_vectors=torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, -1.0]]),
        weights=weights,
    )


def test_softmax_loss_by_hand():
    # log-sum-exp of (2, 0, 1) is 2.407606, of (0, 1, -1) 1.407606; the targets' scores are 2 and -1
    expected = ((2.407606 - 2) + (1.407606 + 1)) / 2
    assert float(softmax_loss(literal_positions(), label_smoothing=0.0)) == pytest.approx(expected, abs=1e-5)


def test_label_smoothing_gives_its_share_to_all_items_alike():
    # the target's score becomes .7 of itself and .3 of the mean score, which is 1 and 0
    expected = ((2.407606 - (0.7 * 2 + 0.3 * 1)) + (1.407606 - (0.7 * -1 + 0.3 * 0))) / 2
    assert float(softmax_loss(literal_positions(), label_smoothing=0.3)) == pytest.approx(expected, abs=1e-5)


def test_bce_loss_by_hand():
    # scores of targets 2 and -1, of negatives 1 and 1; softplus(x) = log(1 + exp(x))
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(1))) / 2
    expected += (math.log1p(math.exp(1)) + math.log1p(math.exp(1))) / 2
    assert float(bce_loss(literal_positions(), torch.tensor([2, 1]))) == pytest.approx(expected, abs=1e-5)


def test_losses_are_multiplied_by_the_weights_and_divided_by_the_number_of_positions():
    positions = literal_positions(torch.tensor([0.5, 3.0]))
    # as above, without a mean
    smoothed = (2.407606 - (0.7 * 2 + 0.3 * 1)), (1.407606 - (0.7 * -1 + 0.3 * 0))
    expected = (0.5 * smoothed[0] + 3 * smoothed[1]) / 2
    assert float(softmax_loss(positions, label_smoothing=0.3)) == pytest.approx(expected, abs=1e-5)
    one, two = math.log1p(math.exp(-2)), math.log1p(math.exp(1))
    expected = (0.5 * (one + two) + 3 * (two + two)) / 2
    assert float(bce_loss(positions, torch.tensor([2, 1]))) == pytest.approx(expected, abs=1e-5)


def test_a_negative_is_any_item_but_the_target_and_those_of_the_window():
    windows = torch.tensor([[2, 5, 8]]).expand(7000, 3)  # 8 is padding
    positions = Positions(torch.zeros(7000, 2), torch.full((7000,), 6), windows, torch.zeros(8, 2))
    drawn = draw_negatives(positions, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn, minlength=8).tolist()
    assert [counts[item] for item in (2, 5, 6)] == [0, 0, 0]
    # 1,400 each for items 0, 1, 3, 4 and 7; the standard deviation is sqrt(7000 * .2 * .8) = 33
    assert all(abs(counts[item] - 1400) < 150 for item in (0, 1, 3, 4, 7))


def test_a_user_who_had_everything_still_gets_a_negative_other_than_the_target():
    positions = Positions(
        torch.zeros(50, 2), torch.full((50,), 1), torch.tensor([[0, 2]]).expand(50, 2), torch.zeros(3, 2)
    )
    drawn = draw_negatives(positions, generator=torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {0, 2}


def test_a_catalogue_of_one_item_has_no_negative():
    positions = Positions(
        torch.zeros(1, 2), torch.tensor([0]), torch.tensor([[0]]), item_vectors=torch.zeros(1, 2)
    )
    with pytest.raises(ValueError, match="one item only"):
        sampled_bce_loss(positions, generator=torch.Generator())


# Models


def test_a_later_item_does_not_change_the_states_before_it(untrained):
    items = torch.tensor([[3, 7, 11, 2, 5]])
    changed = torch.tensor([[3, 7, 11, 20, 5]])
    with torch.no_grad():
        before, after = untrained(items), untrained(changed)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert ((before[:, 3:] - after[:, 3:]).abs().amax(dim=2) > 1e-4).all()  # negative control


def test_an_earlier_item_and_the_order_of_items_change_the_state(untrained):
    with torch.no_grad():
        states = [untrained(torch.tensor([items]))[0, -1] for items in ([3, 7, 5], [4, 7, 5], [7, 3, 5])]
    assert float((states[0] - states[1]).abs().max()) > 1e-4
    assert float((states[0] - states[2]).abs().max()) > 1e-4


def test_a_user_scores_alike_alone_and_in_a_batch_with_longer_histories(untrained):
    histories = [np.array([3, 7]), np.array([1, 2, 3, 4, 5, 6]), np.array([9])]
    score_items = score_with(untrained, 6)
    together = score_items(histories)
    assert (together.shape, together.dtype) == ((3, toy.NUM_ITEMS), np.float32)
    for row, history in enumerate(histories):
        np.testing.assert_allclose(score_items([history])[0], together[row], atol=1e-6)


def test_scores_are_dot_products_of_the_last_state_with_the_item_vectors(untrained):
    with torch.no_grad():
        state = untrained(torch.tensor([[3, 7, 5, 24]]))[0, 2]  # 24 is padding
        expected = [float(state @ untrained.item_embedding.weight[item]) for item in range(24)]
    scores = score_with(untrained, 6)([np.array([3, 7, 5])])
    np.testing.assert_allclose(scores[0], expected, atol=1e-6)


def test_only_the_newest_items_of_a_long_history_are_read(untrained):
    score_items = score_with(untrained, 6)
    long, newest = np.arange(10), np.arange(4, 10)
    np.testing.assert_allclose(score_items([long]), score_items([newest]), atol=1e-6)


def test_an_empty_history_scores_all_items_0(untrained):
    empty = np.array([], dtype=np.int64)
    score_items = score_with(untrained, 6)
    assert not score_items([empty]).any()
    mixed = score_items([empty, np.array([3])])
    assert not mixed[0].any()
    np.testing.assert_allclose(mixed[1:], score_items([np.array([3])]), atol=1e-6)


def test_sasrec_says_how_long_a_history_it_reads():
    model = SASRec(5, SASRecConfig(hidden_dim=4, max_history=2), seed=0)
    with pytest.raises(ValueError, match="histories of up to 2 items, got 3"):
        model(torch.tensor([[0, 1, 2]]))


def test_heads_must_divide_the_width():
    with pytest.raises(ValidationError, match="3 does not 64"):
        SASRecConfig(hidden_dim=64, num_heads=3)


@pytest.mark.parametrize(("build", "section"), [(SASRec, SASRecConfig), (GRU4Rec, GRU4RecConfig)])
def test_weights_come_from_the_seed_alone(build, section):
    settings = section(**SMALL)
    first = bytes_of(build(5, settings, seed=0))
    torch.rand(7)
    state = torch.get_rng_state()
    assert bytes_of(build(5, settings, seed=0)) == first
    assert bytes_of(build(5, settings, seed=1)) != first
    assert torch.equal(torch.get_rng_state(), state)


# Training


def ranks_of_what_follows(fitted) -> np.ndarray:
    """Rank item i for each of all histories i - 4 .. i - 1."""
    items = np.arange(toy.NUM_ITEMS)
    histories = [(item + np.arange(-4, 0)) % toy.NUM_ITEMS for item in items]
    return ranks_by_count(score_with(fitted.model, 6)(histories), items)


@pytest.mark.parametrize("fitted", ["sasrec", "gru4rec"], indirect=True)
def test_the_item_that_follows_comes_first(fitted):
    assert ranks_of_what_follows(fitted).tolist() == [1] * toy.NUM_ITEMS
    assert fitted.valid == {"ndcg@10": 1.0, "hr@10": 1.0}


@pytest.mark.parametrize("fitted", ["sasrec_bce"], indirect=True)
def test_against_one_negative_the_item_that_follows_comes_among_the_first(fitted):
    """Items of a window are never its negatives, so i + 1, i + 2 and i + 3 are hardly told apart."""
    assert ranks_of_what_follows(fitted).max() <= 5
    assert fitted.valid["hr@10"] == 1.0


def test_the_result_says_how_many_weights_and_how_long(fitted):
    assert fitted.parameters == sum(weights.numel() for weights in fitted.model.parameters())
    assert fitted.seconds > 0
    assert 1 <= fitted.best_epoch <= fitted.epochs
    assert not fitted.model.training


def test_ranks_by_count_are_the_places_in_the_full_list_also_where_scores_are_equal():
    scores = np.random.default_rng(0).integers(0, 4, size=(200, 30)).astype(np.float32)
    targets = np.random.default_rng(1).integers(0, 30, size=200)
    items, _ = rank_by_scores(
        lambda histories: scores[[int(h[0]) for h in histories]], np.arange(200)[:, None], k=30
    )
    assert ranks_by_count(scores, targets).tolist() == target_ranks(items, targets).tolist()


def test_scores_that_are_nan_are_no_ranks():
    with pytest.raises(RuntimeError, match="A score is NaN"):
        ranks_by_count(np.array([[0.0, np.nan]]), np.array([0]))


def test_validation_is_what_the_full_ranking_gives(split):
    model = SASRec(toy.NUM_ITEMS, SASRecConfig(**SMALL), seed=0)
    items, _ = rank_by_scores(score_with(model, 6), split.valid.histories, k=10)
    expected = metrics_at_k(target_ranks(items, split.valid.targets), ks=(10,))
    found = evaluate(model, split.valid)
    assert found == {name: pytest.approx(expected[name].mean()) for name in ("ndcg@10", "hr@10")}
    assert 0 < found["ndcg@10"] < 1


def short(**changes) -> SASRecConfig:
    return SASRecConfig(**(SMALL | {"epochs": 3} | changes))


def test_the_same_seed_gives_the_same_bytes_and_leaves_the_global_random_states_alone(split):
    first = bytes_of(fit_sasrec_bce(split, toy.NUM_ITEMS, SASRecBCEConfig(epochs=3, **SMALL), seed=0).model)
    torch.rand(3)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    again = fit_sasrec_bce(split, toy.NUM_ITEMS, SASRecBCEConfig(epochs=3, **SMALL), seed=0)
    assert bytes_of(again.model) == first
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]
    other = fit_sasrec_bce(split, toy.NUM_ITEMS, SASRecBCEConfig(epochs=3, **SMALL), seed=1)
    assert bytes_of(other.model) != first


def test_training_stops_when_valid_no_longer_gains_and_keeps_the_best_epoch(split):
    """Valid targets are drawn at random: there is nothing to gain for long."""
    noise = np.random.default_rng(0).integers(0, toy.NUM_ITEMS, size=len(split.valid))
    noisy = replace(split, valid=replace(split.valid, targets=noise))
    told: list[tuple[int, int]] = []
    fitted = fit_sasrec(
        noisy,
        toy.NUM_ITEMS,
        short(epochs=40, patience=3),
        seed=0,
        on_epoch=lambda done, most: told.append((done, most)),
    )
    assert fitted.epochs == fitted.best_epoch + 3 < 40
    assert told == [(epoch, 40) for epoch in range(1, fitted.epochs + 1)]
    assert evaluate(fitted.model, noisy.valid) == fitted.valid
    stopped = fit_sasrec(noisy, toy.NUM_ITEMS, short(epochs=fitted.best_epoch, patience=3), seed=0)
    assert bytes_of(stopped.model) == bytes_of(fitted.model)


def weights_by_epoch(split, loss) -> list[dict[str, bytes]]:
    model = SASRec(toy.NUM_ITEMS, short(), seed=0)
    seen: list[dict[str, bytes]] = []
    fit_sequential(model, loss, split, seed=0, on_epoch=lambda done, most: seen.append(bytes_of(model)))
    return seen


def test_poisoned_valid_and_test_events_change_no_weight(split):
    events = toy.interactions()
    held_out = events["timestamp"] >= 1000 + toy.LENGTH - 2  # each user's last two
    poisoned_events = events.copy()
    poisoned_events.loc[held_out, "item_id"] = "i00"
    poisoned = split_catalog(Catalog(toy.items(), poisoned_events), SplitConfig())
    assert (poisoned.valid.targets == 0).all()
    assert (poisoned.test.targets == 0).all()

    def softmax(positions: Positions) -> torch.Tensor:
        return softmax_loss(positions, label_smoothing=0.1)

    clean = weights_by_epoch(split, softmax)
    assert len(clean) == 3
    assert weights_by_epoch(poisoned, softmax) == clean
    poisoned_events.loc[~held_out, "item_id"] = "i01"  # negative control: train events do change them
    assert (
        weights_by_epoch(split_catalog(Catalog(toy.items(), poisoned_events), SplitConfig()), softmax)
        != clean
    )


@pytest.mark.parametrize("name", FITS)
def test_weights_that_are_all_equal_change_no_byte(name, split):
    fit, settings = FITS[name]
    settings = settings.model_copy(update={"epochs": 2})
    equal = replace(split, train_weights=np.full_like(split.train_weights, 0.1))
    one, other = (fit(each, toy.NUM_ITEMS, settings, seed=0).model for each in (split, equal))
    assert bytes_of(one) == bytes_of(other)


@pytest.mark.parametrize("name", FITS)
def test_what_follows_with_more_weight_comes_before_what_follows_as_often(name):
    # After item 0 half of the users had 1 and half 2; the other items follow so that each is an input, too.
    events = pd.DataFrame(
        [
            {"user_id": f"u{user}", "item_id": item, "timestamp": time}
            for user in range(80)
            for time, item in enumerate(["0", "12"[user % 2], "3", "4"])
        ]
    )
    items = pd.DataFrame({"item_id": list("01234"), "title": list("abcde")})
    fit, settings = FITS[name]
    for heavy, light in ("12", "21"):
        weighed = events.assign(minutes=np.where(events["item_id"] == heavy, 9.0, 1.0))
        split = split_catalog(Catalog(items, weighed, weight="minutes"), SplitConfig())
        score_items = score_with(fit(split, len(items), settings, seed=0).model, 6)
        scores = score_items([np.array([0])])[0]
        assert scores[int(heavy)] > scores[int(light)]


def test_training_is_silent_and_writes_no_file(split, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    fit_sasrec(split, toy.NUM_ITEMS, short(epochs=1), seed=0)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_training_that_diverges_says_which_setting_to_lower(split):
    with pytest.raises(ConfigError, match=r"diverged in epoch \d.*Lower its learning_rate=1e\+30"):
        fit_sasrec(split, toy.NUM_ITEMS, short(learning_rate=1e30), seed=0)


def test_users_with_one_train_event_each_are_nothing_to_learn_from(split):
    with pytest.raises(CatalogError, match="2 train events or more, and the split has none"):
        fit_sasrec(replace(split, train=[np.array([3])]), toy.NUM_ITEMS, short(), seed=0)


def test_without_valid_users_nothing_says_when_to_stop(split):
    nobody = EvaluationRows(user_ids=[], histories=[], targets=np.empty(0, dtype=np.int64))
    with pytest.raises(CatalogError, match="valid users"):
        fit_sasrec(replace(split, valid=nobody), toy.NUM_ITEMS, short(), seed=0)


# On disk


def test_a_saved_model_scores_the_same(fitted, tmp_path):
    save_sequential(fitted.model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    loaded = load_sequential(tmp_path)
    histories = [np.array([3, 4, 5]), np.array([9])]
    assert type(loaded) is type(fitted.model)
    assert loaded.settings == fitted.model.settings
    assert (score_with(loaded, 6)(histories) == score_with(fitted.model, 6)(histories)).all()


def test_equal_models_are_equal_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_sequential(GRU4Rec(5, GRU4RecConfig(**SMALL), seed=0), tmp_path / name)
    for file in ("model.json", "model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.fixture
def saved(tmp_path):
    save_sequential(SASRec(5, SASRecConfig(**SMALL), seed=0), tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_file_that_is_missing_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} does not exist"):
        load_sequential(saved)


def test_damaged_weights_are_refused(saved):
    (saved / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ArtifactError, match=r"damaged or does not belong .* rerun: sidrec baselines"):
        load_sequential(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_items": 6}, "does not belong to model.json"),
        ({"settings_of": "Mamba"}, "describes no sequential model .*Mamba"),
        ({"settings": {"width": 3}}, "describes no sequential model"),
        ({"format_version": 99}, "has format 99, this sidrec reads 1"),
    ],
)
def test_facts_that_do_not_fit_are_refused(saved, changes, message):
    facts = json.loads((saved / "model.json").read_text())
    (saved / "model.json").write_text(json.dumps(facts | changes))
    with pytest.raises(ArtifactError, match=f"(?s){message}"):
        load_sequential(saved)
