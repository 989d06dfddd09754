"""configs/minionerec.yaml: MiniOneRec's recipe, run on a small Qwen2 and a part of the demo catalogue."""

import json
from pathlib import Path

import pandas as pd
from models import small_model
from transformers import AutoTokenizer

import sidrec
from sidrec.config import load_config
from sidrec.models import make_text_tokenizer
from sidrec.sections import ModelConfig

REPO = Path(__file__).parents[1]
DEMO = REPO / "sidrec" / "demo"
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def qwen2(directory: Path) -> Path:
    """Save a small Qwen2 with a text tokenizer and a chat template of Qwen2.5's form."""
    titles = pd.read_csv(DEMO / "items.csv")["title"].tolist()
    words = make_text_tokenizer(ModelConfig(text_vocabulary_size=500), titles)
    words.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    words.chat_template = CHAT
    words.save_pretrained(directory)
    small_model("qwen2", vocab_size=512, max_position_embeddings=1024).save_pretrained(directory)
    return directory


def test_the_recipe_is_that_of_minionerec():
    """Figures of its sft.sh and sft.py; the schedule and betas are the Trainer's defaults there."""
    section = load_config(REPO / "configs" / "minionerec.yaml").sft
    assert len(section.tasks) == 6
    assert {task.weight for task in section.tasks.values()} == {1}
    assert section.weighting == "rows"
    accumulated = section.trainer["gradient_accumulation_steps"]
    assert (section.batch_size * accumulated, section.epochs, section.learning_rate) == (1024, 10, 3e-4)
    assert (section.trainer["lr_scheduler_type"], section.trainer["warmup_steps"]) == ("linear", 20)
    assert (section.evaluations, section.patience, section.weight_decay) == (20, 3, 0)


def test_the_recipe_runs_on_a_qwen2(tmp_path: Path):
    events = pd.read_csv(DEMO / "interactions.csv", dtype=str)
    few = events[events["user_id"].isin(events["user_id"].unique()[:40])]
    few.to_csv(tmp_path / "events.csv", index=False)
    config = load_config(
        REPO / "configs" / "minionerec.yaml",
        [
            f"output={tmp_path / 'run'}",
            f"catalog.items={DEMO / 'items.csv'}",
            f"catalog.interactions={tmp_path / 'events.csv'}",
            f"model.path={qwen2(tmp_path / 'qwen2')}",
            "embedding.method=tfidf",
            "tokenizer.codebook_sizes=[16,16,16]",
            "tokenizer.epochs=1",
            "sft.batch_size=8",
            "sft.trainer.gradient_accumulation_steps=1",
            "sft.epochs=0.005",
            "sft.validation_users=4",
        ],
    )
    sidrec.tokenize(config)
    sidrec.sft(config)
    metrics = json.loads((config.output / "sft" / "metrics.json").read_text())
    assert 1 <= metrics["steps"] <= 5
    prompts = json.loads((config.output / "sft" / "prompts.json").read_text())
    assert (prompts["template"], prompts["max_history"], prompts["normalization"]) == (
        "instruct",
        10,
        "vocabulary",
    )
    assert AutoTokenizer.from_pretrained(config.output / "sft").chat_template == CHAT
    item = few["item_id"].iloc[0]
    assert len(sidrec.Recommender.from_pretrained(config.output).recommend([item], k=5)) == 5
