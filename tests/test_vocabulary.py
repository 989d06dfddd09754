"""Every SID token is one token of the text tokenizer, whichever that is, and stays so on disk."""

import numpy as np
import pytest
from models import qwen3_tokenizer, text_tokenizer
from tokenizers.normalizers import Lowercase
from transformers import AutoTokenizer

from sidrec.errors import ArtifactError
from sidrec.vocabulary import SIDVocabulary
from tokenizer.semantic_ids import sid_token

SIZES = (3, 2, 12)


@pytest.fixture(params=[text_tokenizer, qwen3_tokenizer], ids=["preset", "qwen3"])
def tokenizer_of_words(request):
    return request.param()


def encode(text_tokenizer, text: str) -> list[int]:
    return text_tokenizer(text, add_special_tokens=False)["input_ids"]


def test_every_sid_token_is_one_token(tokenizer_of_words):
    vocabulary = SIDVocabulary.add_to(tokenizer_of_words, SIZES)
    for level, size in enumerate(SIZES):
        for code in range(size):
            assert encode(tokenizer_of_words, sid_token(level, code)) == [vocabulary.token_ids[level][code]]


def test_the_sid_tokens_are_new_and_distinct(tokenizer_of_words):
    before = len(tokenizer_of_words)
    vocabulary = SIDVocabulary.add_to(tokenizer_of_words, SIZES)
    ids = [token_id for level in vocabulary.token_ids for token_id in level]
    assert ids == list(range(before, before + 3 + 2 + 12))


def test_a_semantic_id_within_words_is_as_many_tokens_as_levels(tokenizer_of_words):
    vocabulary = SIDVocabulary.add_to(tokenizer_of_words, SIZES)
    expected = [vocabulary.token_ids[0][2], vocabulary.token_ids[1][0], vocabulary.token_ids[2][11]]
    ids = encode(tokenizer_of_words, "the item<a_2><b_0><c_11>, a lamp")
    start = ids.index(expected[0])
    assert ids[start : start + 3] == expected
    assert encode(tokenizer_of_words, "the item") == ids[:start]


def test_text_without_sid_tokens_is_encoded_as_before(tokenizer_of_words):
    text = "The red lamp <a> a_1 <a_x> by Lumo, 20 m"
    before = encode(tokenizer_of_words, text)
    SIDVocabulary.add_to(tokenizer_of_words, SIZES)
    assert encode(tokenizer_of_words, text) == before


def test_decoding_keeps_the_sid_tokens(tokenizer_of_words):
    vocabulary = SIDVocabulary.add_to(tokenizer_of_words, SIZES)
    ids = [level[-1] for level in vocabulary.token_ids]
    assert tokenizer_of_words.decode(ids, skip_special_tokens=True) == "<a_2><b_1><c_11>"


def test_the_sid_tokens_survive_save_and_reload(tokenizer_of_words, tmp_path):
    vocabulary = SIDVocabulary.add_to(tokenizer_of_words, SIZES)
    tokenizer_of_words.save_pretrained(tmp_path)
    reloaded = AutoTokenizer.from_pretrained(tmp_path)
    assert SIDVocabulary.find_in(reloaded, SIZES).token_ids == vocabulary.token_ids
    text = "the lamp<a_1><b_1><c_10> is red"
    assert encode(reloaded, text) == encode(tokenizer_of_words, text)


def test_adding_twice_changes_nothing(tokenizer_of_words):
    first = SIDVocabulary.add_to(tokenizer_of_words, SIZES)
    size = len(tokenizer_of_words)
    assert SIDVocabulary.add_to(tokenizer_of_words, SIZES).token_ids == first.token_ids
    assert len(tokenizer_of_words) == size


def test_a_larger_codebook_adds_only_what_is_new():
    words = text_tokenizer()
    first = SIDVocabulary.add_to(words, (2, 2))
    size = len(words)
    second = SIDVocabulary.add_to(words, (2, 3))
    assert second.token_ids == [first.token_ids[0], [*first.token_ids[1], size]]


def test_a_normalizer_of_text_makes_no_sid_tokens():
    """Titles are searched for SID tokens as they are written."""
    words = text_tokenizer()
    words.backend_tokenizer.normalizer = Lowercase()
    vocabulary = SIDVocabulary.add_to(words, (3,))
    assert encode(words, "<a_1>") == [vocabulary.token_ids[0][1]]
    assert not set(encode(words, "<A_1>")) & set(vocabulary.token_ids[0])


def test_after_level_z_comes_level_aa():
    words = text_tokenizer()
    vocabulary = SIDVocabulary.add_to(words, (2,) * 28)
    assert len(vocabulary.token_ids) == 28
    assert encode(words, "<z_1><aa_0><ab_1>") == [
        vocabulary.token_ids[25][1],
        vocabulary.token_ids[26][0],
        vocabulary.token_ids[27][1],
    ]


def test_a_missing_sid_token_raises():
    words = text_tokenizer()
    SIDVocabulary.add_to(words, (3, 2))
    with pytest.raises(
        ArtifactError, match=r"lacks 2 of the 4 SID tokens of level 1 \(<b_2>.*Rerun: sidrec sft"
    ):
        SIDVocabulary.find_in(words, (3, 4))


def test_a_tokenizer_without_any_sid_token_raises():
    with pytest.raises(ArtifactError, match=r"lacks 3 of the 3 SID tokens of level 0 \(<a_0>"):
        SIDVocabulary.find_in(text_tokenizer(), (3,))


def test_codes_become_token_ids_level_by_level():
    vocabulary = SIDVocabulary([[10, 11], [20, 21, 22]])
    tokens = vocabulary.tokens_of(np.array([[1, 2], [0, 0]]))
    assert tokens.tolist() == [[11, 22], [10, 20]]
    assert tokens.dtype == np.int64
