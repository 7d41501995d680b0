"""LoRA: two thin matrices beside each targeted linear layer, trained in place of the model.

A layer W [out, in] computes W x + alpha / rank * B A x. W is frozen; A [rank, in] and B [out, rank] are trained, and B
starts at zero, so that the model starts as it was (Hu et al., https://arxiv.org/abs/2106.09685, equation 3). peft
holds the layers. The model keeps its class; inside, `q_proj.weight` becomes `q_proj.base_layer.weight`.

Where parameters are sharded (ZeRO 3), `gather` is the context manager that makes a list of them whole; every rank must
then make the same calls. Merging never touches the training module.
Does not: adapt embeddings, layers that share their weights, or experts that are kept as one tensor; no dropout.
"""

import difflib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from rlreason.runlog import write_whole
from rlreason.types import UserError

Gather = Callable[[list[torch.nn.Parameter]], AbstractContextManager[Any]]

_ADAPTER = "default"
_FACTOR = re.compile(rf"(\.lora_[AB])\.{_ADAPTER}\.")


def add_adapter(
    module: torch.nn.Module,
    *,
    rank: int,
    alpha: int,
    targets: Sequence[str] | Literal["all-linear"],
    whole: Sequence[str] = (),
) -> torch.nn.Module:
    """The same module, its targeted layers adapted and everything else frozen. A is drawn with torch's generator.

    A target is the end of a linear layer's dotted name, such as `q_proj` or `layers.0.self_attn.q_proj`; `all-linear`
    is all of them but the output layer. `whole` names modules that are trained themselves, such as a new score head.
    A and B have the dtype of their layer. UserError where a target is not the name of a layer that can be adapted.
    """
    from peft import LoraConfig
    from peft.functional import inject_adapter_in_model
    from transformers.pytorch_utils import Conv1D

    linear = {name: layer for name, layer in module.named_modules() if isinstance(layer, torch.nn.Linear | Conv1D)}
    if targets != "all-linear":
        _require_targets(module, list(linear), targets)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=targets if targets == "all-linear" else list(targets),
        exclude_modules=list(whole) or None,
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in linear.values()),
    )
    inject_adapter_in_model(config, module, _ADAPTER)
    for name in whole:
        module.get_submodule(name).requires_grad_(True)
    config.modules_to_save = list(whole) or None
    return module


def merged_weights(module: torch.nn.Module, gather: Gather = nullcontext) -> Iterator[tuple[str, Tensor]]:
    """What `named_parameters()` of the model without adapters gives, with W + alpha / rank * B A in place of each W.

    One tensor at a time, valid until the next. Merged in float32 and cast back to the dtype of W: in bfloat16 an update
    that is small beside W is rounded, which the adapter itself is not.
    """
    for name, parameter in module.named_parameters():
        if _FACTOR.search(name):
            continue
        adapted, _, rest = name.rpartition(".base_layer.")
        if adapted and rest == "weight":
            layer: Any = module.get_submodule(adapted)
            factors = [layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight]
            with gather([parameter, *factors]):
                yield f"{adapted}.weight", _merged(layer, parameter, *factors)
        else:
            with gather([parameter]):
                yield name.replace(".base_layer.", "."), parameter.detach()


@torch.no_grad()
def _merged(layer: Any, weight: Tensor, factor_a: Tensor, factor_b: Tensor) -> Tensor:
    update = layer.scaling[_ADAPTER] * (factor_b.float() @ factor_a.float())
    return (weight.float() + (update.T if layer.fan_in_fan_out else update)).to(weight.dtype)


def adapter_weights(module: torch.nn.Module, gather: Gather = nullcontext) -> dict[str, Tensor]:
    """Copies of all trained parameters, on the CPU, by the names that peft and vLLM read from a file."""
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    with gather(list(trained.values())):
        return {
            "base_model.model." + _FACTOR.sub(r"\1.", name): parameter.detach().to("cpu", copy=True)
            for name, parameter in trained.items()
        }


def adapter_config(module: torch.nn.Module) -> dict[str, Any]:
    """What stands in adapter_config.json, in a fixed order; plain data, so that another process can write it."""
    known: Any = module.peft_config
    # peft keeps names as sets, whose order changes from run to run.
    plain: dict[str, Any] = json.loads(json.dumps(known[_ADAPTER].to_dict(), default=sorted))
    return plain


def write_adapter(path: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """A folder that peft and vLLM load, from `adapter_weights` and `adapter_config`. No pickle.

    An adapter that is there already is replaced file by file; one that is being read stays as it was.
    """
    from safetensors.torch import save_file

    path.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), path / "adapter_model.safetensors", metadata={"format": "pt"})
    write_whole(path / "adapter_config.json", json.dumps(dict(config), indent=2, sort_keys=True))


@contextmanager
def without_adapter(module: torch.nn.Module) -> Iterator[None]:
    """The model as it was before training, which serves as the reference at no memory. Modules trained whole stay."""
    from peft.tuners.lora import LoraLayer

    layers = [layer for layer in module.modules() if isinstance(layer, LoraLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def _require_targets(module: torch.nn.Module, linear: Sequence[str], targets: Sequence[str]) -> None:
    owners = Counter(id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False))
    ends = sorted({name.rpartition(".")[2] for name in linear})
    for target in targets:
        found = [name for name in linear if f".{name}".endswith(f".{target}")]
        if not found:
            near = difflib.get_close_matches(target, ends, n=3, cutoff=0.4)
            hint = f"did you mean {', '.join(near)}?" if near else f"it has {', '.join(ends)}"
            raise UserError(f"lora.targets: the model has no linear layer `{target}`; {hint}")
        if any(owners[id(parameter)] > 1 for name in found for parameter in module.get_submodule(name).parameters()):
            raise UserError(f"lora.targets: `{target}` shares its weights with the embedding; take it out")
