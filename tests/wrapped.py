"""`torchrun wrapped.py KIND`: two processes share a batch whose model DDP, FSDP1 or FSDP2 has wrapped.

The main process prints how far the gradients are from those of the whole batch in one process, both those of
the wrapped model and those of its own share alone, and whether all ranked the same items.
"""

import gc
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from models import small_scorer
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

from sidrec.decoding import CausalLM, constrained_beam_search
from sidrec.tasks.rows import IGNORED, NO_ITEM
from sidrec.trainers.forward import through_forward
from sidrec.trainers.sft import sft_losses


def wrap(kind: str, model: Any) -> nn.Module:
    if kind == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    if kind == "fsdp1":
        layers = ModuleWrapPolicy({type(model.model.layers[0])})
        return FullyShardedDataParallel(
            model, auto_wrap_policy=layers, use_orig_params=True, device_id=torch.device("cpu")
        )
    for layer in model.model.layers:
        fully_shard(layer)
    return fully_shard(model)


def gradients(kind: str, wrapper: nn.Module, model: nn.Module) -> dict[str, Tensor]:
    if kind == "fsdp1":
        with FullyShardedDataParallel.summon_full_params(wrapper, with_grads=True):
            names = {name.replace("_fsdp_wrapped_module.", ""): p for name, p in model.named_parameters()}
            return {name: parameter.grad.clone() for name, parameter in names.items()}
    full: Callable[[Tensor], Tensor] = (lambda g: g.full_tensor()) if kind == "fsdp2" else torch.clone
    return {name: full(parameter.grad) for name, parameter in model.named_parameters()}


def main(kind: str) -> None:
    rank, world = dist.get_rank(), dist.get_world_size()
    scorer, table = small_scorer("qwen3", "catalog")
    codes = torch.tensor(table)
    losses_of = partial(sft_losses, scorer, codes=codes, paths=scorer.trie.walk(codes))
    items = torch.arange(20).view(5, 4)  # an odd number of rows
    tokens = torch.stack([scorer.token_ids[n][codes[items][..., n]] for n in range(3)], dim=-1).flatten(1)
    input_ids = torch.cat([torch.ones(5, 1, dtype=torch.int64), tokens], dim=1)
    batch = {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        "kinds": torch.cat([torch.full((5, 1), IGNORED), torch.arange(3).repeat(5, 4)], dim=1),
        "items": torch.cat([torch.full((5, 1), NO_ITEM), items.repeat_interleave(3, dim=1)], dim=1),
        "tasks": torch.zeros(5, dtype=torch.int64),
        "weights": torch.arange(input_ids.numel()).view(input_ids.shape) / input_ids.numel(),
    }
    losses, *_ = losses_of(batch)
    count = len(losses)
    (losses.sum() / count).backward()
    expected = {name: parameter.grad.clone() for name, parameter in scorer.model.named_parameters()}
    scorer.model.zero_grad()

    share = {name: value[rank::world] for name, value in batch.items()}
    losses, *_ = losses_of(share)
    (losses.sum() / count * world).backward()
    alone = {name: parameter.grad.clone() for name, parameter in scorer.model.named_parameters()}
    scorer.model.zero_grad()

    wrapper = wrap(kind, scorer.model)
    losses, *_ = through_forward(wrapper, scorer.model, losses_of, share)
    (losses.sum() / count * world).backward()
    found = gradients(kind, wrapper, scorer.model)
    report: dict[str, Any] = {
        name: max(float((gradient[each] - expected[each]).abs().max()) for each in expected)
        for name, gradient in (("together", found), ("alone", alone))
    }

    @torch.no_grad()
    def ranking() -> Tensor:
        prompts = [[1, 5, 6], [1, 7]]
        return constrained_beam_search(CausalLM(scorer), scorer.trie, prompts, num_beams=5).items

    ranked: list[Any] = [None] * world
    dist.all_gather_object(ranked, through_forward(wrapper, scorer.model, ranking).tolist())
    report["same_ranking"] = ranked[0] == ranked[1]
    if rank == 0:
        print(json.dumps(report))


if __name__ == "__main__":
    dist.init_process_group("gloo")
    main(sys.argv[1])
    dist.barrier()
    gc.collect()  # a wrapper that still knew of the group could abort at the interpreter's end
    dist.destroy_process_group()
