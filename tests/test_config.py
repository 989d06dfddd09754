"""The config: a YAML with overrides above it; faults in the words the user typed; a round trip."""

import dataclasses
from pathlib import Path

import pytest

from sidrec.config import Config, load_config
from sidrec.errors import ConfigError
from sidrec.tokenizer_config import TokenizerConfig
from tokenizer.settings import RQVAESettings


def read(tmp_path: Path, text: str, *overrides: str) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, overrides)


def refuse(match: str, *overrides: str) -> None:
    with pytest.raises(ConfigError, match=match):
        load_config(None, overrides)


def test_without_anything_the_defaults_hold():
    assert load_config(None) == Config()


def test_an_empty_file_means_the_defaults(tmp_path):
    assert read(tmp_path, "") == Config()


def test_the_file_sets_what_it_names_and_nothing_else(tmp_path):
    config = read(tmp_path, "seed: 3\nrl:\n  num_generations: 8\n")
    assert (config.seed, config.rl.num_generations) == (3, 8)
    assert config.sft == Config().sft


def test_an_override_stands_above_the_file(tmp_path):
    config = read(tmp_path, "seed: 3\nrl: {num_generations: 8, steps: 5}\n", "rl.num_generations=4", "seed=7")
    assert (config.seed, config.rl.num_generations, config.rl.steps) == (7, 4, 5)


def test_of_two_overrides_the_last_holds():
    assert load_config(None, ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("override", "expected"), [("1e-4", 1e-4), ("2E-3", 2e-3), ("5.0e-1", 0.5), ("1", 1.0), (".5", 0.5)]
)
def test_numbers_are_read_as_people_write_them(override, expected):
    assert load_config(None, [f"sft.learning_rate={override}"]).sft.learning_rate == expected


def test_an_exponent_is_a_number_where_no_type_is_known(tmp_path):
    config = read(tmp_path, "sft: {trainer: {adam_epsilon: 1e-6}}\n", "rl.trainer={max_grad_norm: 1e-1}")
    assert config.sft.trainer == {"adam_epsilon": 1e-6}
    assert config.rl.trainer == {"max_grad_norm": 0.1}


def test_a_quoted_exponent_stays_text(tmp_path):
    assert read(tmp_path, 'catalog: {title: "1e5"}\n').catalog.title == "1e5"


def test_lists_are_read_from_overrides():
    config = load_config(None, ["tokenizer.codebook_sizes=[8,16]", "tokenizer.hidden_dims=[]"])
    assert (config.tokenizer.codebook_sizes, config.tokenizer.hidden_dims) == ((8, 16), ())


def test_a_mapping_is_read_from_an_override():
    assert load_config(None, ["rl.rewards={rule: 1, ranking: 0.5}"]).rl.rewards == {"rule": 1, "ranking": 0.5}


def weights(config):
    return {name: task.weight for name, task in config.sft.tasks.items()}


def test_a_task_is_its_weight_or_what_is_said_of_it(tmp_path):
    config = read(tmp_path, 'sft: {tasks: {next_item: 2, mine: {prompt: "{title}", completion: "{sid}"}}}\n')
    assert weights(config) == {"next_item": 2, "mine": 1}
    assert config.sft.tasks["mine"].prompt == "{title}"


def test_a_table_of_tasks_replaces_the_default_one_and_a_single_task_does_not(tmp_path):
    assert weights(read(tmp_path, "sft: {tasks: {next_item: 1}}\n")) == {"next_item": 1}
    assert weights(load_config(None, ["sft.tasks={titles_to_item: 1}"])) == {"titles_to_item": 1}
    default = {"next_item": 0.8, "title_to_item": 0.05, "item_to_title": 0.15}
    assert weights(load_config(None, ["sft.tasks.titles_to_item=1"])) == {**default, "titles_to_item": 1}
    assert weights(load_config(None, ["sft.tasks.next_item=3"])) == {**default, "next_item": 3}
    assert weights(load_config(None, ["sft.tasks.next_item.weight=3"])) == {**default, "next_item": 3}
    changed = read(tmp_path, "sft: {tasks: {next_item: 1}}\n", "sft.tasks.item_to_title=2")
    assert weights(changed) == {"next_item": 1, "item_to_title": 2}


def test_a_key_within_a_mapping_can_be_set_alone():
    assert load_config(None, ["sft.trainer.max_grad_norm=0.5"]).sft.trainer == {"max_grad_norm": 0.5}


@pytest.mark.parametrize(
    "template",
    ["{title}", "{title, author}", "Title: {title}", "by {author}: {title}", "a book called {title}"],
)
def test_a_template_in_an_override_stays_a_template(template):
    assert load_config(None, [f"catalog.text={template}"]).catalog.text == template


def test_a_quoted_template_loses_its_quotes():
    assert load_config(None, ['catalog.text="{title}, by {author}"']).catalog.text == "{title}, by {author}"


def test_a_template_that_yaml_cannot_read_must_be_quoted():
    refuse(r"catalog.text=\{title\}, by .*not valid YAML. Quote it", "catalog.text={title}, by {author}")


def test_the_resolved_yaml_gives_the_same_config(tmp_path):
    config = load_config(
        None,
        [
            "output=runs/bücher",
            "seed=5",
            "catalog.items=books.csv",
            "catalog.text={title}",
            "catalog.title='1e5'",
            "tokenizer.codebook_sizes=[8,8]",
            "embedding.path=vectors.npy",
            "model.path=some/model",
            "sft.learning_rate=1e-6",
            "sft.trainer={adam_epsilon: 1e-6, max_grad_norm: 2}",
            "rl.rewards={rule: 0.5}",
            'sft.tasks={next_item: 1, mine: {prompt: "{title}", completion: "{sid}", weight: 2}}',
        ],
    )
    assert read(tmp_path, config.to_yaml()) == config


def test_the_resolved_yaml_names_every_default(tmp_path):
    text = Config().to_yaml()
    assert read(tmp_path, text) == Config()
    for section, field in Config.model_fields.items():
        for key in getattr(field.annotation, "model_fields", {}):
            assert f"  {key}:" in text.partition(f"\n{section}:")[2]


def test_an_unknown_key_suggests_the_nearest_of_its_section():
    refuse('rl.num_generation is not an option. Did you mean "num_generations"', "rl.num_generation=8")


def test_an_unknown_section_suggests_the_nearest():
    refuse('catalgo is not an option. Did you mean "catalog"', "catalgo.items=books.csv")


def test_a_key_without_its_section_suggests_both():
    refuse('num_generations is not an option. Did you mean "rl.num_generations"', "num_generations=8")


def test_an_unknown_key_like_no_other_lists_what_there_is():
    refuse("prompt.xyzzy is not an option. Known in section prompt: template, max_history", "prompt.xyzzy=1")


def test_all_faults_are_named_at_once():
    refuse(
        "seed: expected a valid integer.*; rl.steps: expected greater than or equal to 1",
        "seed=x",
        "rl.steps=0",
    )


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("seed=many", "seed: expected a valid integer.* got 'many'"),
        ("seed=-1", "seed: expected greater than or equal to 0, got -1"),
        ("rl.num_generations=8.5", "rl.num_generations: expected a valid integer.* got 8.5"),
        ("rl.num_generations=1", "rl.num_generations: expected greater than or equal to 2, got 1"),
        ("sft.learning_rate=nan", "sft.learning_rate: expected greater than 0"),
        ("sft.dropout=1", "sft.dropout: expected less than 1, got 1"),
        ("sft.loss=items", "sft.loss: expected 'vocabulary', 'level' or 'catalog', got 'items'"),
        ("split.method=random", "split.method: expected 'leave_one_out', .*got 'random'"),
        ("prompt.template=chat", "prompt.template: expected 'compact' or 'instruct', got 'chat'"),
        ("model.preset=huge", "model.preset: expected 'tiny', 'small' or 'base', got 'huge'"),
        ("tokenizer.codebook_sizes=8", "tokenizer.codebook_sizes: expected a valid tuple, got 8"),
        ("tokenizer.codebook_sizes=[8,x]", r"tokenizer.codebook_sizes.1: expected a valid integer.* got 'x'"),
        ("tokenizer.codebook_sizes=[]", "tokenizer: codebook_sizes needs at least one level"),
        (
            "tokenizer.codebook_sizes=[8,0]",
            "tokenizer: codebook_sizes needs at least one level of at least one code",
        ),
        ("sft=3", "sft: expected a valid dictionary .*got 3"),
        ("sft.tasks=[next_item]", r"sft\.tasks: expected a valid dictionary, got \['next_item'\]"),
        ("sft.tasks.next_item=-1", "sft.tasks.next_item.weight: expected greater than or equal to 0, got -1"),
        ("sft.tasks.next_item=.inf", "sft.tasks.next_item.weight: expected a finite number, got inf"),
        ("sft.tasks.next_item=much", "sft.tasks.next_item.weight: expected a valid number.* got 'much'"),
        (
            'sft.tasks.mine={promt: "{title}"}',
            r'sft\.tasks\.mine\.promt is not an option\. Did you mean "prompt"\? Known in section',
        ),
        ("rl.rewards.rule=much", "rl.rewards.rule: expected a valid number.* got 'much'"),
        ("embedding.method=file", "embedding.method=file needs embedding.path"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(override, match):
    refuse(match, override)


def test_a_long_wrong_value_is_cut():
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["seed=" + "x" * 500])
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("override", ["rl.steps", "=3", "configs/demo.yaml"])
def test_an_override_without_a_value_or_a_key_is_refused(override):
    refuse("is no setting. Write section.key=value", override)


def test_a_value_has_no_keys_of_its_own():
    refuse("seed.x: seed is a value, not a section", "seed=1", "seed.x=2")


@pytest.mark.parametrize("section", ["sft", "rl"])
@pytest.mark.parametrize("key", ["output_dir", "seed", "data_seed", "save_strategy"])
def test_a_trainer_option_that_is_ours_is_refused(section, key):
    refuse(f"{section}.trainer: {key} is set by sidrec", f"{section}.trainer.{key}=1")


@pytest.mark.parametrize("key", ["temperature", "scale_rewards", "num_generations", "steps_per_generation"])
def test_a_trainer_option_that_would_change_nothing_is_refused(key):
    refuse(f"rl.trainer: {key} is set by sidrec", f"rl.trainer.{key}=1")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none.yaml does not exist"):
        load_config(tmp_path / "none.yaml")


def test_a_directory_is_no_config(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_broken_yaml_is_named_with_its_line(tmp_path):
    with pytest.raises(ConfigError, match=r"config.yaml is not valid YAML: .*line 2"):
        read(tmp_path, "seed: 1\nrl: [1\n")


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_bytes("output: bücher\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"not UTF-8 text. Save it as UTF-8"):
        load_config(tmp_path / "config.yaml")


@pytest.mark.parametrize(("text", "kind"), [("- seed\n", "list"), ("seed\n", "str"), ("3\n", "int")])
def test_a_file_that_holds_no_sections_is_refused(tmp_path, text, kind):
    with pytest.raises(ConfigError, match=f"must hold sections such as `catalog:`, not a {kind}"):
        read(tmp_path, text)


def test_a_fault_in_a_file_names_the_file(tmp_path):
    with pytest.raises(ConfigError, match=r"In .*config.yaml: seed: expected a valid integer"):
        read(tmp_path, "seed: x\n")


def test_a_yaml_tag_runs_no_code(tmp_path):
    with pytest.raises(ConfigError, match=r"not valid YAML.*could not determine a constructor"):
        read(tmp_path, "seed: !!python/object/apply:os.getpid []\n")


def test_a_config_cannot_be_changed_behind_a_stage():
    with pytest.raises(ValueError, match="frozen"):
        Config().seed = 1


def test_the_tokenizer_section_is_the_settings_of_the_rqvae():
    """But for the seed, which is the run's, and `residual`, which is what makes rqkmeans_plus."""
    theirs = {each.name: each.default for each in dataclasses.fields(RQVAESettings)}
    del theirs["seed"], theirs["residual"]
    ours = {name: field.default for name, field in TokenizerConfig.model_fields.items()}
    assert {name: value for name, value in ours.items() if name in theirs} == theirs


def test_every_option_says_what_it_is():
    def options(section, name):
        for key, option in section.model_fields.items():
            if hasattr(option.annotation, "model_fields"):
                yield from options(option.annotation, f"{name}{key}.")
            else:
                yield f"{name}{key}", option.description

    found = dict(options(Config, ""))
    assert "baselines.sasrec.hidden_dim" in found
    assert [name for name, description in found.items() if not description] == []


def test_a_section_without_lines_keeps_its_defaults(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("seed: 3\nsft:\n", encoding="utf-8")
    assert load_config(path) == load_config(None, ["seed=3"])
