"""Presets from scratch, and any causal LM from disk whose vocabulary grows by the SID tokens."""

from pathlib import Path

import pytest
import torch
from models import KINDS, TEXTS, save_foreign_model, small_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from sidrec.errors import ConfigError
from sidrec.models import make_model
from sidrec.sections import ModelConfig
from sidrec.vocabulary import SIDVocabulary

SIZES = (4, 3)
NUM_SID_TOKENS = 7


def make(sizes=SIZES, seed=0, max_positions=64, **settings):
    config = ModelConfig(**({"text_vocabulary_size": 300} | settings))
    return make_model(config, TEXTS, sizes, max_positions=max_positions, seed=seed)


@pytest.fixture(scope="module", params=[f"{kind}-{tied}" for kind in KINDS for tied in ("tied", "untied")])
def foreign(request, tmp_path_factory) -> Path:
    kind, tied = request.param.split("-")
    return save_foreign_model(tmp_path_factory.mktemp("foreign"), kind, tie_word_embeddings=tied == "tied")


def embeddings(model: PreTrainedModel) -> list[torch.Tensor]:
    return [model.get_input_embeddings().weight.detach(), model.get_output_embeddings().weight.detach()]


def is_tied(model: PreTrainedModel) -> bool:
    first, second = embeddings(model)
    return first.data_ptr() == second.data_ptr()


def logits_of(model: PreTrainedModel, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.tensor([ids])).logits


def reload(model, words, directory):
    model.save_pretrained(directory)
    words.save_pretrained(directory)
    return AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)


@pytest.mark.parametrize(
    ("preset", "millions"), [("tiny", (0.7, 1.3)), ("small", (5, 7)), ("base", (25, 35))]
)
def test_presets_have_the_size_they_promise(preset, millions):
    texts = [f"item {n} number {n * n}" for n in range(2000)]  # enough for 1,000 BPE tokens
    model, words, _ = make_model(ModelConfig(preset=preset), texts, (256, 256, 256), max_positions=64, seed=0)
    assert len(words) == 1000 + 768
    assert millions[0] < model.num_parameters() / 1e6 < millions[1]


def test_the_shape_of_a_preset_can_be_set():
    settings = ModelConfig(hidden_size=48, num_layers=2, num_heads=3, text_vocabulary_size=300)
    config = make_model(settings, TEXTS, (4,), max_positions=64, seed=0)[0].config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (48, 2, 3)
    assert (config.head_dim, config.intermediate_size) == (16, 144)


def test_what_is_not_set_of_a_shape_is_the_presets():
    settings = ModelConfig(num_layers=1, intermediate_size=20, text_vocabulary_size=300)
    config = make_model(settings, TEXTS, (4,), max_positions=64, seed=0)[0].config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (128, 1, 4)
    assert config.intermediate_size == 20


def test_heads_of_an_odd_width_are_refused():
    with pytest.raises(ConfigError, match=r"4 attention heads do not divide a hidden_size of 20 into even"):
        make_model(ModelConfig(hidden_size=20), TEXTS, (4,), max_positions=64, seed=0)


def test_a_shape_for_a_model_that_has_one_is_refused():
    with pytest.raises(ValueError, match="hidden_size, num_heads would change nothing: the model"):
        ModelConfig(path="some/model", hidden_size=64, num_heads=2)


def test_a_preset_is_a_tied_qwen3_without_spare_rows():
    model, words, vocabulary = make()
    assert model.config.model_type == "qwen3"
    assert is_tied(model)
    assert len(embeddings(model)[0]) == len(words)
    assert max(map(max, vocabulary.token_ids)) == len(words) - 1


def test_a_preset_takes_rows_as_long_as_asked_for():
    assert make(max_positions=700)[0].config.max_position_embeddings == 700
    assert make(max_positions=7)[0].config.max_position_embeddings == 256


def test_a_preset_can_write_any_text():
    _, words, _ = make()
    text = "Ünïcode 漢字 😀 \t new\nline"
    assert words.decode(words(text)["input_ids"]) == text


def test_a_preset_survives_save_and_reload(tmp_path):
    model, words, vocabulary = make()
    again, words_again = reload(model, words, tmp_path)
    assert SIDVocabulary.find_in(words_again, SIZES).token_ids == vocabulary.token_ids
    assert is_tied(again)
    assert torch.equal(logits_of(again, [1, 5, 9]), logits_of(model, [1, 5, 9]))


def test_the_same_seed_gives_the_same_weights():
    first, second = make(seed=3)[0].state_dict(), make(seed=3)[0].state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_gives_other_weights():
    first, second = embeddings(make(seed=3)[0])[0], embeddings(make(seed=4)[0])[0]
    assert not torch.equal(first, second)


def test_the_global_random_state_is_neither_read_nor_moved(tmp_path):
    directory = save_foreign_model(tmp_path)
    torch.manual_seed(1)
    first = embeddings(make(path=str(directory))[0])[0]
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))
    assert torch.equal(embeddings(make(path=str(directory))[0])[0], first)


def test_the_rows_of_old_tokens_are_unchanged(foreign):
    before = embeddings(AutoModelForCausalLM.from_pretrained(foreign))
    size = len(AutoTokenizer.from_pretrained(foreign))
    model, _, _ = make(path=str(foreign))
    for old, new in zip(before, embeddings(model), strict=True):
        assert torch.equal(new[:size], old[:size])


def test_new_rows_are_finite_distinct_and_as_long_as_the_old(foreign):
    model, _, vocabulary = make(path=str(foreign))
    ids = [token_id for level in vocabulary.token_ids for token_id in level]
    for weight in embeddings(model):
        new, old = weight[ids], weight[: min(ids)]
        assert torch.isfinite(new).all()
        assert len(new.unique(dim=0)) == NUM_SID_TOKENS
        # 32 numbers of mean 1 and deviation .15 against .3: sqrt(32 * 1.0225) / sqrt(32 * 1.09) = .97
        ratio = new.norm(dim=1) / old.norm(dim=1).median()
        assert ((ratio > 0.8) & (ratio < 1.2)).all()


def test_tying_is_as_it_was_also_after_a_reload(foreign, tmp_path):
    expected = AutoModelForCausalLM.from_pretrained(foreign).config.tie_word_embeddings
    model, words, _ = make(path=str(foreign))
    assert is_tied(model) == expected
    assert is_tied(reload(model, words, tmp_path)[0]) == expected


def test_a_model_with_new_rows_survives_save_and_reload(foreign, tmp_path):
    model, words, vocabulary = make(path=str(foreign))
    ids = [1, 9, vocabulary.token_ids[0][3], vocabulary.token_ids[1][2]]
    again, words_again = reload(model, words, tmp_path)
    assert torch.equal(logits_of(again, ids), logits_of(model, ids))
    assert SIDVocabulary.find_in(words_again, SIZES).token_ids == vocabulary.token_ids


def test_sid_tokens_fill_a_padded_vocabulary_before_it_grows(tmp_path):
    directory = save_foreign_model(tmp_path, padded=50)
    size = len(AutoTokenizer.from_pretrained(directory)) + 50
    model, words, _ = make(path=str(directory))
    assert len(words) == size - 50 + NUM_SID_TOKENS
    assert [len(weight) for weight in embeddings(model)] == [size, size]
    assert model.config.vocab_size == size


def test_a_vocabulary_that_is_too_short_grows_to_its_tokenizer(foreign):
    model, words, _ = make(path=str(foreign))  # 5 spare rows for 7 tokens
    assert [len(weight) for weight in embeddings(model)] == [len(words)] * 2


def test_sid_tokens_that_the_model_knows_keep_their_rows(foreign, tmp_path):
    """A model trained by sidrec can be the start of another one."""
    model, words, vocabulary = make(path=str(foreign))
    reload(model, words, tmp_path)
    again, _, larger = make(sizes=(4, 5), path=str(tmp_path), seed=1)
    assert [ids[:3] for ids in larger.token_ids] == [ids[:3] for ids in vocabulary.token_ids]
    known = max(map(max, vocabulary.token_ids)) + 1
    for old, new in zip(embeddings(model), embeddings(again), strict=True):
        assert torch.equal(new[:known], old)
        assert torch.isfinite(new).all()


def test_the_seed_decides_the_new_rows(tmp_path):
    directory = save_foreign_model(tmp_path)
    first, same, other = (embeddings(make(path=str(directory), seed=seed)[0])[0] for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_no_sampling_default_of_the_model_is_left_to_filter_items(tmp_path):
    directory = save_foreign_model(tmp_path)
    GenerationConfig(do_sample=True, top_k=20, top_p=0.8, temperature=0.7).save_pretrained(directory)
    assert AutoModelForCausalLM.from_pretrained(directory).generation_config.top_k == 20
    model, _, _ = make(path=str(directory))
    kept = set(model.generation_config.to_diff_dict()) - {"transformers_version", "_from_model_config"}
    assert kept == {"bos_token_id", "eos_token_id", "pad_token_id"}


def test_prompts_are_padded_on_the_left_with_a_token_of_the_tokenizer(tmp_path):
    directory = save_foreign_model(tmp_path)
    words = AutoTokenizer.from_pretrained(directory)
    words.pad_token = None
    words.save_pretrained(directory)
    _, loaded, _ = make(path=str(directory))
    assert (loaded.padding_side, loaded.pad_token_id) == ("left", loaded.eos_token_id)


def test_a_directory_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"model.path: .*/none could not be loaded as a causal language model"
    ):
        make(path=str(tmp_path / "none"))


def test_a_directory_without_a_config_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"model.path: .* holds no config.json"):
        make(path=str(tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_a_text_tokenizer_is_refused(tmp_path, kind):
    small_model(kind).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"model.path: .*text tokenizer"):
        make(path=str(tmp_path))


def test_a_model_without_weights_is_refused(tmp_path):
    save_foreign_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"model.path: .* could not be loaded.*model.safetensors"):
        make(path=str(tmp_path))


def test_damaged_weights_are_refused(tmp_path):
    save_foreign_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(ConfigError, match=r"model.path: .* could not be loaded"):
        make(path=str(tmp_path))


def test_a_model_that_is_no_language_model_is_refused(tmp_path):
    save_foreign_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ConfigError, match=r"model.path: .* could not be loaded"):
        make(path=str(tmp_path))


def test_a_text_tokenizer_without_an_end_is_refused(tmp_path):
    directory = save_foreign_model(tmp_path)
    words = AutoTokenizer.from_pretrained(directory)
    words.eos_token = None
    words.save_pretrained(directory)
    with pytest.raises(ConfigError, match="has no end-of-text token, which titles need"):
        make(path=str(directory))
