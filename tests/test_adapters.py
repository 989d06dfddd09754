"""Adapters and SID rows: what is trained, what the scorer sees of it, and what comes back from disk."""

import copy
from pathlib import Path

import pytest
import torch
from models import KINDS, SIZES, random_codes, save_foreign_model, sid_token_ids, small_model
from torch import Tensor

from sidrec.adapters import Base, add_adapters, has_adapters, load_merged, restore_adapters
from sidrec.attention import evaluating
from sidrec.decoding import CausalLM, constrained_beam_search
from sidrec.errors import ArtifactError, ConfigError
from sidrec.models import make_model
from sidrec.scoring import SIDScorer
from sidrec.sections import LoRAConfig, ModelConfig
from sidrec.shared_prefix import completion_scores
from sidrec.trie import SIDTrie

LORA = LoRAConfig(rank=4, alpha=8, dropout=0.1)
MODELS = [(kind, tied) for kind in KINDS for tied in (True, False)]
SID_TOKENS = sorted(token for level in sid_token_ids() for token in level)
ROWS = torch.tensor([[1, 20, 26, 33, 21, 27, 34], [1, 22, 28, 31, 24, 30, 32]])


def adapted(kind="qwen3", lora=LORA, *, tied=True, seed=0, **overrides):
    model = small_model(kind, tie_word_embeddings=tied, **overrides)
    add_adapters(model, sid_token_ids(), lora, seed=seed)
    return model


def scorer_of(model, normalization="vocabulary"):
    return SIDScorer(model, sid_token_ids(), SIDTrie(random_codes()), normalization)


def trained(model) -> dict[str, Tensor]:
    return {name: each.detach().clone() for name, each in model.named_parameters() if each.requires_grad}


def train(model, steps=3, **settings):
    """A few steps with weight decay, on rows with text and SID tokens."""
    optimizer = torch.optim.AdamW(
        [each for each in model.parameters() if each.requires_grad], lr=0.05, weight_decay=0.5
    )
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=ROWS, labels=ROWS).loss.backward()
        optimizer.step()
    return model.eval()


def weights(model) -> list[Tensor]:
    """Every weight of the plain model, by its place: peft changes their names and their order stays."""
    wrapped = ("lora_", "trainable_tokens_")
    return [
        each.detach().clone()
        for name, each in model.named_parameters()
        if not any(part in name for part in wrapped)
    ]


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "sid_only"])
@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_no_weight_of_the_model_itself_changes_under_weight_decay(kind, tied, lora):
    before = weights(small_model(kind, tie_word_embeddings=tied))
    after = weights(train(adapted(kind, lora, tied=tied)))
    assert len(after) == len(before)
    assert all(torch.equal(new, old) for new, old in zip(after, before, strict=True))


@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_sid_only_trains_the_rows_of_sid_tokens_and_nothing_else(kind, tied):
    model = adapted(kind, None, tied=tied)
    assert [tuple(each.shape) for each in trained(model).values()] == [(15, 32)] * (1 if tied else 2)
    before = [layer.weight.detach().clone() for layer in ends(model)]
    train(model)
    for layer, old in zip(ends(model), before, strict=True):
        changed = (layer.weight != old).any(dim=1).nonzero().squeeze(1).tolist()
        assert changed == SID_TOKENS


def ends(model):
    return [model.get_input_embeddings(), model.get_output_embeddings()]


@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_lora_trains_adapters_beside_every_linear_layer_but_the_output(kind, tied):
    names = trained(adapted(kind, tied=tied))
    beside = {name.split(".")[-4] for name in names if "lora_A" in name}
    assert beside == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert sum("trainable_tokens" in name for name in names) == (1 if tied else 2)


def test_named_layers_alone_get_an_adapter():
    names = trained(adapted(lora=LoRAConfig(target_modules=("q_proj", "v_proj"))))
    assert {name.split(".")[-4] for name in names if "lora_A" in name} == {"q_proj", "v_proj"}


def test_rank_and_alpha_act():
    adapter = adapted(lora=LoRAConfig(rank=3, alpha=6)).base_model.layers[0].self_attn.q_proj
    assert adapter.lora_A["default"].weight.shape == (3, 32)
    assert adapter.scaling["default"] == 2


def test_dropout_acts_in_training_only():
    model = train(adapted(lora=LoRAConfig(rank=4, dropout=0.5)))
    assert torch.equal(model(ROWS).logits, model(ROWS).logits)
    model.train()
    assert not torch.equal(model(ROWS).logits, model(ROWS).logits)


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "sid_only"])
def test_a_model_begins_as_it_was_without_adapters(lora):
    with torch.no_grad():
        torch.testing.assert_close(adapted(lora=lora)(ROWS).logits, small_model()(ROWS).logits)


def test_the_same_seed_gives_the_same_adapters_whatever_was_drawn_before():
    first = trained(adapted(seed=3))
    torch.manual_seed(9)
    same, other = trained(adapted(seed=3)), trained(adapted(seed=4))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "sid_only"])
@pytest.mark.parametrize(("kind", "tied"), MODELS)
def test_the_scorer_agrees_with_the_model_s_own_logits(kind, tied, lora):
    """Level 1 after the prompt and a code: the whole model, and the rows of SID tokens alone."""
    model = train(adapted(kind, lora, tied=tied))
    scorer = scorer_of(model, "level")
    codes = torch.tensor(random_codes())
    states = scorer.trie.walk(codes[:2])[:, 1]
    ids = torch.cat([ROWS[:, :3], scorer.tokens(states).unsqueeze(1)], dim=1)
    with torch.no_grad():
        logits = model(ids).logits[:, -1]
        expected = logits[:, scorer.token_ids[1]].log_softmax(-1).gather(1, codes[:2, 1:2]).squeeze(1)
        found = scorer.log_probs(scorer.hidden(input_ids=ids)[:, -1], states, codes[:2, 1], 1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("normalization", ["vocabulary", "level", "catalog"])
@pytest.mark.parametrize("part", ["lora_B", "trainable_tokens_delta"])
@pytest.mark.parametrize("tied", [True, False])
def test_every_trained_part_changes_scores_and_gets_a_gradient(part, normalization, tied):
    """A scorer that read the frozen weight would give the rows of the output layer neither."""
    model = adapted(tied=tied)
    scorer = scorer_of(model, normalization)
    codes = torch.tensor(random_codes()[:4]).view(2, 2, 3)
    prompts, mask = ROWS[:, :3], torch.ones(2, 3, dtype=torch.int64)

    def scores() -> Tensor:
        return completion_scores(scorer, prompts, mask, codes).log_probs

    parameters = {name: each for name, each in model.named_parameters() if part in name}
    before = scores()
    before.sum().backward()
    for name, each in parameters.items():
        assert each.grad is not None, name
        assert each.grad.abs().sum() > 0, name
        old = each.detach().clone()
        with torch.no_grad():
            each += 0.3 * torch.randn(each.shape, generator=torch.Generator().manual_seed(0))
            assert not torch.allclose(scores(), before, atol=1e-3), name
            each.copy_(old)
    torch.testing.assert_close(scores(), before)


def test_the_gradient_of_trained_rows_is_that_of_a_whole_model():
    """Untied: the same loss through `head.weight` of a model without peft."""
    whole, part = small_model(tie_word_embeddings=False), adapted(lora=None, tied=False)
    codes, hidden = torch.tensor(random_codes()), torch.randn(40, 32)
    for model in (whole, part):
        scorer = scorer_of(model, "level")
        states = scorer.trie.walk(codes)[:, 1]
        scorer.log_probs(hidden, states, codes[:, 1], 1).sum().backward()
    expected = whole.get_output_embeddings().weight.grad[SID_TOKENS]
    found = part.get_output_embeddings().token_adapter.trainable_tokens_delta["default"].grad
    torch.testing.assert_close(found, expected)


def test_a_beam_search_sees_what_was_trained():
    model = adapted()
    reader = CausalLM(scorer_of(model))
    prompts = [[5, 6, 7]]
    before = constrained_beam_search(reader, reader.scorer.trie, prompts, num_beams=5)
    train(model)
    after = constrained_beam_search(reader, reader.scorer.trie, prompts, num_beams=5)
    whole = constrained_beam_search(plain(model), reader.scorer.trie, prompts, num_beams=5)
    assert before.items.tolist() != after.items.tolist()
    assert after.items.tolist() == whole.items.tolist()
    torch.testing.assert_close(after.scores, whole.scores)


def plain(model) -> CausalLM:
    """A reader that uses the whole model's logits: every prompt anew, no rows of their own."""
    scorer = scorer_of(model)
    scorer.shares_prompts, scorer.why_not = False, "is read plainly"
    return CausalLM(scorer)


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "sid_only"])
@pytest.mark.parametrize("tied", [True, False])
def test_gradient_checkpointing_changes_no_gradient(tied, lora):
    gradients, passes = [], []
    for checkpointing in (False, True):
        model = train(adapted("qwen2", lora, tied=tied)).train()
        scorer = scorer_of(model)
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        calls: list[int] = []
        model.base_model.layers[0].mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        codes, mask = torch.tensor(random_codes()[:2]).view(2, 1, 3), torch.ones(2, 3, dtype=torch.int64)
        model.zero_grad()
        torch.manual_seed(1)  # of the adapters' dropout
        completion_scores(scorer, ROWS[:, :3], mask, codes).log_probs.sum().backward()
        gradients.append([each.grad for each in model.parameters() if each.requires_grad])
        passes.append(len(calls))
    assert passes == [1, 2]  # the second time in the backward pass
    assert all(each.abs().sum() > 0 for each in gradients[0])
    for without, with_ in zip(*gradients, strict=True):
        torch.testing.assert_close(with_, without)


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "sid_only"])
@pytest.mark.parametrize("tied", [True, False])
def test_adapters_come_back_from_disk_to_the_bit(tmp_path, tied, lora):
    model = train(adapted(lora=lora, tied=tied))
    model.save_pretrained(tmp_path)
    expected = trained(model)
    train(model)
    assert any(not torch.equal(each, expected[name]) for name, each in trained(model).items())
    restore_adapters(model, tmp_path)
    assert all(torch.equal(each, expected[name]) for name, each in trained(model).items())


def test_a_saved_model_with_adapters_holds_them_alone(tmp_path):
    train(adapted()).save_pretrained(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    assert has_adapters(adapted())
    assert not has_adapters(small_model())


SIDS = (4, 3)


@pytest.fixture(scope="module", params=[f"{kind}-{tied}" for kind in KINDS for tied in ("tied", "untied")])
def base(request, tmp_path_factory) -> Path:
    kind, tied = request.param.split("-")
    return save_foreign_model(tmp_path_factory.mktemp("base"), kind, tie_word_embeddings=tied == "tied")


def trained_beside(base: Path, directory: Path, lora=LORA):
    """Train adapters to a model from disk and write them as `sft` does."""
    model, text_tokenizer, vocabulary = make_model(
        ModelConfig(path=str(base)), [], SIDS, max_positions=64, seed=0
    )
    add_adapters(model, vocabulary.token_ids, lora, seed=0)
    train(model)
    model.save_pretrained(directory)
    return model, text_tokenizer


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "sid_only"])
def test_merged_weights_give_the_same_logits(base, tmp_path, lora):
    model, text_tokenizer = trained_beside(base, tmp_path, lora)
    merged = load_merged(tmp_path, Base.of(str(base)), text_tokenizer).eval()
    assert not has_adapters(merged)
    assert all(each.requires_grad for each in merged.parameters())  # RL trains them
    with torch.no_grad(), evaluating(model):
        torch.testing.assert_close(
            merged(ROWS[:, :3]).logits, model(ROWS[:, :3]).logits, atol=1e-4, rtol=1e-4
        )
    first, last = ends(merged)
    tied = model.config.tie_word_embeddings
    assert (first.weight.data_ptr() == last.weight.data_ptr()) == tied


def test_a_base_that_moved_is_named(tmp_path):
    base = save_foreign_model(tmp_path / "base")
    _, text_tokenizer = trained_beside(base, tmp_path / "sft")
    record = Base.of(str(base))
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match=r"sft holds adapters to .*base, where no weights are now\. Put"):
        load_merged(tmp_path / "sft", record, text_tokenizer)


def test_a_base_that_changed_is_refused_with_both_hashes(tmp_path):
    base = save_foreign_model(tmp_path / "base")
    _, text_tokenizer = trained_beside(base, tmp_path / "sft")
    record = Base.of(str(base))
    save_foreign_model(base, seed=1)
    message = (
        rf"whose weights have changed since \(sha256 \w{{8}}, then {record.sha256[:8]}\)\. Put the former"
    )
    with pytest.raises(ArtifactError, match=message):
        load_merged(tmp_path / "sft", record, text_tokenizer)


def test_a_base_is_recorded_by_its_absolute_path(tmp_path, monkeypatch):
    save_foreign_model(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    Base.of("base").save(tmp_path)
    assert Base.read(tmp_path) == Base.of(str(tmp_path / "base"))
    assert Base.read(tmp_path / "base") is None


def test_a_model_path_without_weights_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.path: .* holds no weights \(\*\.safetensors\)"):
        Base.of(str(tmp_path))


def test_adapters_alone_are_no_model_to_start_from(tmp_path):
    Base("somewhere", "0").save(tmp_path)
    with pytest.raises(ConfigError, match=r"holds adapters alone, .*Train it with sft\.merge=true"):
        make_model(ModelConfig(path=str(tmp_path)), [], SIDS, max_positions=64, seed=0)


@pytest.mark.parametrize("target", ["q_prj", "lm_head", "embed_tokens"])
def test_a_target_module_that_matches_nothing_is_refused_with_those_there_are(target):
    message = (
        rf'has no linear layer "{target}" that an adapter can stand beside\..* There are: down_proj, '
        "gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    )
    with pytest.raises(ConfigError, match=message):
        adapted(lora=LoRAConfig(target_modules=("q_proj", target)))


def test_an_output_layer_with_biases_is_refused():
    model = copy.deepcopy(small_model(tie_word_embeddings=False))
    model.lm_head.bias = torch.nn.Parameter(torch.zeros(60))
    with pytest.raises(ConfigError, match=r"output layer of Qwen3ForCausalLM has biases, which peft leaves"):
        add_adapters(model, sid_token_ids(SIZES), None, seed=0)
