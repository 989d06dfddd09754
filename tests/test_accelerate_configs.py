"""The launcher's configs under `configs/accelerate`, read as `accelerate launch` reads them."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DeepSpeedPlugin, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

CONFIGS = sorted((Path(__file__).parents[1] / "configs" / "accelerate").glob("*.yaml"))
LAUNCHED = {
    "ddp.yaml": "MULTI_GPU",
    "deepspeed_zero2.yaml": "DEEPSPEED",
    "deepspeed_zero3.yaml": "DEEPSPEED",
    "fsdp.yaml": "FSDP",
}


def config(name: str) -> Path:
    return next(path for path in CONFIGS if path.name == name)


def known_keys() -> set[str]:
    return {action.dest for action in launch_command_parser()._actions}


def launch(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment in which `accelerate launch` would start the processes, set for this one."""
    arguments = ["--config_file", str(path), "-m", "sidrec", "sft", "config.yaml"]
    args: argparse.Namespace = _validate_launch_command(launch_command_parser().parse_args(arguments))[0]
    if args.use_deepspeed:
        args.deepspeed_fields_from_accelerate_config = ",".join(
            load_config_from_file(str(path)).deepspeed_config
        )
        _, environment = prepare_deepspeed_cmd_env(args)
    else:
        environment = prepare_multi_gpu_env(args)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


def test_there_is_a_config_for_each_way_to_divide_the_work():
    assert {path.name: yaml.safe_load(path.read_text())["distributed_type"] for path in CONFIGS} == LAUNCHED


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_key_is_one_that_accelerate_knows(path):
    found: ClusterConfig = load_config_from_file(str(path))  # raises for an unknown key of its own
    assert set(found.fsdp_config) | set(found.deepspeed_config) <= known_keys()


def test_a_key_that_accelerate_does_not_know_would_be_seen(tmp_path):
    """Negative control of the test above."""
    text = config("fsdp.yaml").read_text()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("fsdp_reshard_after_forward", "fsdp_reshard_after"))
    assert not set(load_config_from_file(str(wrong)).fsdp_config) <= known_keys()
    wrong.write_text(text + "num_proceses: 2\n")
    with pytest.raises(ValueError, match="num_proceses"):
        load_config_from_file(str(wrong))


def test_fsdp_is_launched_as_the_file_says(monkeypatch):
    environment = launch(config("fsdp.yaml"), monkeypatch)
    assert environment["ACCELERATE_USE_FSDP"] == "true"
    plugin: Any = FullyShardedDataParallelPlugin()
    assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"  # what a checkpoint of ours has to hold
    assert not plugin.cpu_ram_efficient_loading


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_is_launched_with_the_stage_of_the_file(stage, monkeypatch):
    environment = launch(config(f"deepspeed_zero{stage}.yaml"), monkeypatch)
    assert environment["ACCELERATE_USE_DEEPSPEED"] == "true"
    plugin: Any = DeepSpeedPlugin()
    zero = plugin.deepspeed_config["zero_optimization"]
    assert zero["stage"] == plugin.zero_stage == stage
    assert zero["stage3_gather_16bit_weights_on_model_save"] is (stage == 3)
    assert plugin.zero3_init_flag is False


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_precision_is_left_to_the_config_of_sidrec(path, monkeypatch):
    assert launch(path, monkeypatch)["ACCELERATE_MIXED_PRECISION"] == "no"
