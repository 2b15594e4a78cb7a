"""Loads a checkpoint whose embedding tables `rankfold compress` replaced by factor pairs.

A table W [V, d] named `X.weight` is stored as `X.weight` = A [V, k] and `X.proj.weight` = B transposed [d, k], with
W ~ A B. The module X stays the `nn.Embedding` that it was, of width k, and is followed by `proj`, a `Linear(k, d)`
without bias. A head that is tied to the table computes (h B^T) A^T; neither ever makes A B.

With transformers, `import rankfold_loader` once; then `AutoModel.from_pretrained(directory)`, `save_pretrained`, `Trainer`
and sentence-transformers work as ever. With `trust_remote_code=True` not even the import is needed.

With plain PyTorch, build the module whose state dict the checkpoint was, and call `load_factorized(module, directory)`.

Needs torch and safetensors; transformers only where it is used. `RANKFOLD_VERIFY=0` in the environment skips the
comparison of the files with the digests in rankfold.json.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Callable, Iterable, Optional

import torch
from torch import nn

MANIFEST, METHOD, VERSION = "rankfold.json", "rankfold", 1


class RankfoldError(RuntimeError):
    """The checkpoint is not what it says, or needs a loader that knows more."""


# Modules -------------------------------------------------------------------------------------------------------------


class _Factorized:
    """A module with `weight` = A whose `proj` is its own or, where it is tied to another, that one's."""

    def _pair(self) -> nn.Linear:
        return (self.__dict__.get("_owner") or self).proj  # type: ignore[attr-defined]


class FactorizedEmbedding(_Factorized, nn.Embedding):
    """A look-up in A, then `proj`. Subclasses that scale their rows still do: a factor passes through `proj`."""

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self._pair()(super().forward(*args, **kwargs))


class FactorizedLinear(_Factorized, nn.Linear):
    """An output head with the weight A B: (h B^T) A^T + bias."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.linear(hidden, self._pair().weight.t()))


_classes: dict[type, type] = {nn.Embedding: FactorizedEmbedding, nn.Linear: FactorizedLinear}


def _factorized_class(base: type) -> type:
    """The class for a subclass of Embedding or Linear: what it adds to them stays."""
    if base not in _classes:
        kind = FactorizedEmbedding if issubclass(base, nn.Embedding) else FactorizedLinear
        # `super()` in `kind.forward` finds `base.forward` next in the order of resolution.
        _classes[base] = type(f"Factorized{base.__name__}", (kind, base), {})
    return _classes[base]


def _narrow(module: nn.Module, weight: nn.Parameter, rank: int, owner: Optional[nn.Module]) -> None:
    width = module.weight.shape[1]
    module.weight = weight
    if owner is None:
        module.proj = nn.Linear(rank, width, bias=False, device=weight.device, dtype=weight.dtype)
        # What transformers would fill with random numbers where a checkpoint lacks it is never missing here.
        module.proj._is_hf_initialized = True
    else:
        # Not through `__setattr__`, which would make the owner a child and its `proj` a second key in state dicts.
        module.__dict__["_owner"] = owner
    setattr(module, "embedding_dim" if isinstance(module, nn.Embedding) else "in_features", rank)
    module.__class__ = _factorized_class(type(module))


def _factor_pair(module: nn.Module, table: dict, aliases: list[nn.Module]) -> None:
    rank, old = int(table["setting"]["rank"]), module.weight
    if list(old.shape) != list(table["shape"]):
        raise RankfoldError(f"rankfold: the table is {table['shape']}, the model has {list(old.shape)}")
    empty = torch.empty(old.shape[0], rank, dtype=old.dtype, device=old.device)
    weight = nn.Parameter(empty, requires_grad=old.requires_grad)
    _narrow(module, weight, rank, None)
    for alias in aliases:
        _narrow(alias, weight, rank, module)


# How the module of a table is made ready for the tensors that a method stores.
METHODS: dict[str, Callable[[nn.Module, dict, list[nn.Module]], None]] = {"low-rank": _factor_pair}


def swap_tables(model: nn.Module, tables: dict[str, dict]) -> list[str]:
    """Makes the modules of `tables` ready for their factors, in place; gives the names of those that `model` has.

    A module that shares its parameter with a table's module (a tied head, an encoder's and a decoder's table) follows.
    """
    if hasattr(model, "tie_weights"):
        model.tie_weights()
    modules = dict(model.named_modules(remove_duplicate=False))
    found = []
    for name, table in tables.items():
        if table["method"] not in METHODS:
            raise RankfoldError(f"rankfold: this loader does not know the method `{table['method']}` of `{name}`; "
                                f"`rankfold restore` makes a dense checkpoint of it")
        module = next((modules[n] for n in _names(name, model) if n in modules), None)
        if module is None or isinstance(module, _Factorized):
            continue
        if not isinstance(module, (nn.Embedding, nn.Linear)):
            raise RankfoldError(f"rankfold: `{name}` is a {type(module).__name__}, neither Embedding nor Linear")
        sharing = {id(m): m for m in modules.values() if m is not module and getattr(m, "weight", 0) is module.weight}
        METHODS[table["method"]](module, table, list(sharing.values()))
        _declare_shared(model, [n for n, m in modules.items() if m is module])
        found.append(name)
    return found


def _declare_shared(model: nn.Module, names: list[str]) -> None:
    """Tells `save_pretrained` that `proj` of one module under several names (T5's table) is to be stored once."""
    first, *others = (f"{name}.proj.weight" for name in names)
    for attribute in ("_tied_weights_keys", "all_tied_weights_keys"):
        known = getattr(model, attribute, None)
        if isinstance(known, dict):  # transformers 5
            setattr(model, attribute, {**known, **{other: first for other in others}})
        elif others and attribute == "_tied_weights_keys" and hasattr(model, "config"):
            setattr(model, attribute, [*(known or []), *others])


def _names(table: str, model: nn.Module) -> Iterable[str]:
    """Names that the module of `table` may have: heads add a prefix to the names of the bare model, or lack it."""
    name = table[: -len(".weight")] if table.endswith(".weight") else table
    prefix = getattr(model, "base_model_prefix", "")
    yield name
    if prefix:
        yield f"{prefix}.{name}"
        if name.startswith(f"{prefix}."):
            yield name[len(prefix) + 1:]


# Digests -------------------------------------------------------------------------------------------------------------


def check_digests(directory: str | os.PathLike) -> Optional[dict]:
    """Compares weights and configuration in `directory` with rankfold.json there or above it; gives the manifest.

    Without a manifest (a model saved again by transformers has none) nothing is compared. A weight file that the
    manifest lacks is an error: it would be loaded too.
    """
    folder = Path(directory).absolute()
    root = next((p for p in (folder, *list(folder.parents)[:2]) if (p / MANIFEST).is_file()), None)
    if root is None:
        return None
    manifest = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    # A folder below another's output that is no part of it, such as a checkpoint of a training, is not its concern.
    records = {root / record["path"]: record for record in manifest["files"]}
    if root != folder and not any(path.parent == folder for path in records):
        return None
    if os.environ.get("RANKFOLD_VERIFY") == "0":
        return manifest
    for path in sorted(folder.glob("*.safetensors")):
        if path not in records:
            raise RankfoldError(f"rankfold: `{path}` is not in the manifest; remove it, or load from a copy without it")
    for path, record in records.items():
        decides = "tensors" in record or path.name == "config.json" or path.name.endswith(".index.json")
        if decides and path.parent == folder and _sha256(path) != record["sha256"]:
            raise RankfoldError(f"rankfold: `{path}` does not have the digest that the manifest gives; "
                                f"`rankfold verify` lists every difference")
    return manifest


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise RankfoldError(f"rankfold: `{path}` is in the manifest but not in the directory")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


# Plain PyTorch -------------------------------------------------------------------------------------------------------


def load_factorized(model: nn.Module, directory: str | os.PathLike) -> nn.Module:
    """Loads the checkpoint in `directory` into `model`, whose state dict it was before its tables were encoded.

    Every tensor must have its place and every place its tensor, but for parameters that the model shares. Gives
    `model`, its tables swapped in place.
    """
    from safetensors import safe_open

    folder = Path(directory)
    manifest = check_digests(folder)
    if manifest is None:
        raise RankfoldError(f"rankfold: no `{MANIFEST}` at `{folder}`; it comes with the output of `rankfold compress`")
    tables = {table["name"]: table for table in manifest["tables"]}
    missing = set(tables) - set(swap_tables(model, tables))
    if missing:
        raise RankfoldError(f"rankfold: the model has no module for the tables {sorted(missing)}")
    state = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(str(path), framework="pt") as file:
            state.update({key: file.get_tensor(key) for key in file.keys()})
    shared: dict[int, set[str]] = {}
    for key, value in model.state_dict(keep_vars=True).items():
        shared.setdefault(id(value), set()).add(key)
    absent, unexpected = model.load_state_dict(state, strict=False)
    groups = [names for names in shared.values() if names & set(state)]
    absent = [key for key in absent if not any(key in names for names in groups)]
    if absent or unexpected:
        raise RankfoldError(f"rankfold: not the module that was saved: missing {absent}, unexpected {unexpected}")
    return model


# transformers --------------------------------------------------------------------------------------------------------


class _Method(str):
    """The method's name; some versions of transformers ask for its `value` as if it were their enumeration's."""

    value = METHOD


def _register() -> None:
    """Makes `quant_method: rankfold` known to transformers, if that is installed."""
    try:
        from transformers import __version__
        from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING, AUTO_QUANTIZER_MAPPING
        from transformers.quantizers.base import HfQuantizer
        from transformers.utils.quantization_config import QuantizationConfigMixin
    except ImportError:
        return
    major = int(__version__.split(".")[0])

    class RankfoldConfig(QuantizationConfigMixin):
        def __init__(self, tables: Optional[dict] = None, version: int = VERSION, **kwargs: Any) -> None:
            if version > VERSION:
                raise RankfoldError(f"rankfold: the block in config.json is of version {version}; this loader reads "
                                    f"{VERSION}")
            self.quant_method, self.version, self.tables = _Method(METHOD), version, tables or {}

    class RankfoldQuantizer(HfQuantizer):
        requires_calibration = True  # an encoded checkpoint is loaded; nothing is encoded here

        def _process_model_before_weight_loading(self, model: nn.Module, **kwargs: Any) -> None:
            directory = _directory_of(model, kwargs.get("checkpoint_files"))
            if directory is not None:
                check_digests(directory)
            if not swap_tables(model, self.quantization_config.tables):
                raise RankfoldError(f"rankfold: {type(model).__name__} has none of the tables "
                                    f"{sorted(self.quantization_config.tables)}")

        def _process_model_after_weight_loading(self, model: nn.Module, **kwargs: Any) -> nn.Module:
            # The factors are plain parameters of a floating dtype: `half()`, `to()` and training need no guard.
            model.is_quantized = False
            # Where the map below was taken, the model is nowhere but where any other would be.
            if getattr(model, "hf_device_map", None) == {"": "cpu"}:
                del model.hf_device_map
            return model

        def update_device_map(self, device_map: Any) -> Any:
            # transformers 4 builds on the meta device for every quantizer and, without a map, takes parameters of
            # equal size there for tied ones: a new head would never get its numbers.
            return {"": "cpu"} if device_map is None and major < 5 else device_map

        def is_serializable(self, *args: Any, **kwargs: Any) -> bool:
            return True

        is_trainable = property(lambda self: True)
        is_qat_trainable = property(lambda self: True)
        is_compileable = property(lambda self: True)

    AUTO_QUANTIZATION_CONFIG_MAPPING[METHOD] = RankfoldConfig
    AUTO_QUANTIZER_MAPPING[METHOD] = RankfoldQuantizer


def _directory_of(model: nn.Module, files: Optional[list]) -> Optional[str]:
    """The local directory that `model` is being loaded from."""
    if files:
        return os.path.dirname(os.fspath(files[0]))
    name = getattr(model.config, "name_or_path", "") or ""
    if os.path.isdir(name):
        return name
    from transformers.utils import cached_file

    try:
        manifest = cached_file(name, MANIFEST) if name else None
    except OSError:
        return None
    return os.path.dirname(manifest) if manifest else None


def _stand_in(auto_class: str) -> type:
    """What `auto_map` in config.json names for `auto_class`: importing this file is all that it was needed for.

    It hands over to the class that the architecture has in transformers, so the model is a plain BertModel and so on.
    """

    class StandIn:
        @classmethod
        def register_for_auto_class(cls, auto_class: Any = None) -> None:
            pass

        @classmethod
        def from_pretrained(cls, path: str, *args: Any, config: Any, **kwargs: Any) -> nn.Module:
            kwargs.pop("trust_remote_code", None)
            return cls._stock(config).from_pretrained(path, *args, config=config, **kwargs)

        @classmethod
        def _from_config(cls, config: Any, **kwargs: Any) -> nn.Module:
            return cls._stock(config)._from_config(config, **kwargs)

        @classmethod
        def _stock(cls, config: Any) -> type:
            import transformers

            # The table of names that comes with transformers: its other table has this stand-in by now.
            found = getattr(transformers, auto_class)._model_mapping._model_mapping[config.model_type]
            names = [found] if isinstance(found, str) else list(found)
            named = (getattr(config, "architectures", None) or [""])[0]
            return getattr(transformers, named if named in names else names[0])

    StandIn.__name__ = StandIn.__qualname__ = f"Rankfold{auto_class}"
    return StandIn


def __getattr__(name: str) -> type:
    if name.startswith("RankfoldAuto"):
        globals()[name] = _stand_in(name[len("Rankfold"):])
        return globals()[name]
    raise AttributeError(name)


_register()
