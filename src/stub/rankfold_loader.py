"""Loads a checkpoint whose embedding tables `rankfold compress` replaced by factor pairs, or by codes.

A table W [V, d] named `X.weight` is stored as `X.weight` = A [V, k] and `X.proj.weight` = B transposed [d, k], with
W ~ A B. The module X stays the `nn.Embedding` that it was, of width k, and is followed by `proj`, a `Linear(k, d)`
without bias. A head that is tied to the table computes (h B^T) A^T; neither ever makes A B.

The other methods store codes. Then X is an `nn.Embedding` whose parts are buffers under the names that they are stored
by; it decodes the rows that are looked up and no others, and a head decodes a block of rows at a time. Codes do not learn.

With transformers, `import rankfold_loader` once; then `AutoModel.from_pretrained(directory)`, `save_pretrained`, `Trainer`
and sentence-transformers work as ever. With `trust_remote_code=True` not even the import is needed.

With plain PyTorch, build the module whose state dict the checkpoint was, and call `load_factorized(module, directory)`.

Needs torch and safetensors; transformers only where it is used; for codes `rankfold_codecs.py` beside this file.
`RANKFOLD_VERIFY=0` in the environment skips the comparison of the files with the digests in rankfold.json.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import json
import os
import types
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


# Codes ---------------------------------------------------------------------------------------------------------------


def _decoders() -> dict[str, type]:
    """The file of decoders: beside this one as a module, or in the package that transformers makes of trusted code."""
    if __package__:
        from .rankfold_codecs import DECODERS

        return DECODERS
    return importlib.import_module("rankfold_codecs").DECODERS


class _Encoded:
    """A module with the parts of a table as buffers, or tied to one that has them."""

    BLOCK = 1 << 20  # numbers of the table that a head decodes at a time

    def decoder(self) -> Any:
        """What decodes the rows: made when it is first asked for, and again where parts were replaced."""
        owner = self.__dict__.get("_owner") or self
        if owner is not self:
            return owner.decoder()
        parts = [self.get_buffer(name) for name in self._parts]
        version = [(id(part), part._version) for part in parts]
        if self.__dict__.get("_decoder", (None,))[0] != version:
            table = self._table
            decoder = _decoders()[table["method"]](torch, table["setting"], table["shape"], parts)
            # Not through `__setattr__`: it is no module.
            self.__dict__["_decoder"] = (version, decoder)
        return self.__dict__["_decoder"][1]

    def _apply(self, function: Callable, *rest: Any, **options: Any) -> nn.Module:
        """Parts follow the module to a device, never to a dtype: scales of fewer digits would be other scales."""
        # A layer that holds a part, such as `proj`, has it among its own buffers.
        kept = [(layer, name, part) for layer in self.modules() for name, part in layer.named_buffers(recurse=False)
                if name != "_like"]
        super()._apply(function, *rest, **options)
        for layer, name, part in kept:
            moved = getattr(layer, name)
            if moved.dtype != part.dtype:
                at = moved.device
                layer._buffers[name] = torch.empty_like(part, device=at) if part.is_meta else part.to(at)
        return self

    def __deepcopy__(self, memo: dict) -> nn.Module:
        cached = self.__dict__.pop("_decoder", None)
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        if cached is not None:
            self.__dict__["_decoder"] = cached
        return twin


class EncodedEmbedding(_Encoded, nn.Embedding):
    """Decodes the rows that are looked up. A subclass that scales its rows by `embed_scale` still does."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            decoder = self.decoder()
            rows = decoder.rows(ids.reshape(-1)).reshape(*ids.shape, decoder.width).to(self._like.dtype)
            scale = getattr(self, "embed_scale", 1.0)  # a number, or a buffer that stays a single here
            return rows * (scale.to(rows.dtype) if isinstance(scale, torch.Tensor) else scale)


class EncodedLinear(_Encoded, nn.Linear):
    """An output head: decodes a block of rows, multiplies, and goes on with the next."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            decoder = self.decoder()
        if decoder.right is not None:
            hidden = nn.functional.linear(hidden, decoder.right.to(hidden.dtype))
        step, logits = max(1, self.BLOCK // max(decoder.width, 1)), []
        for start in range(0, decoder.height, step):
            with torch.no_grad():
                ids = torch.arange(start, min(start + step, decoder.height), device=hidden.device)
                block = decoder.left(ids).to(hidden.dtype)
            logits.append(nn.functional.linear(hidden, block))
        logits = torch.cat(logits, -1)
        return logits if self.bias is None else logits + self.bias


class _NoWeight:
    """For modules without a part called `weight`, and those tied to one that has it: programs look at its first extent,
    its dtype and its device, and assign it to tie it, which is done already."""

    @property
    def weight(self) -> torch.Tensor:
        return self._like.new_empty(self._table["shape"][0], 0)

    @weight.setter
    def weight(self, value: torch.Tensor) -> None:
        pass


def _encoded_class(base: type, has_weight: bool) -> type:
    """The class for a subclass of Embedding or Linear."""
    key = (base, has_weight)
    if key not in _encoded_classes:
        kind = EncodedEmbedding if issubclass(base, nn.Embedding) else EncodedLinear
        forwards = {nn.Embedding.forward, nn.Linear.forward}
        if base.forward not in forwards and not hasattr(base, "embed_scale") and "scale" not in base.__name__.lower():
            raise RankfoldError(f"rankfold: {base.__name__} changes what it looks up in a way that this loader does not "
                                f"know; `rankfold restore` makes a dense checkpoint")
        bases = (kind, base) if has_weight else (_NoWeight, kind, base)
        _encoded_classes[key] = type(f"Encoded{base.__name__}", bases, {})
    return _encoded_classes[key]


_encoded_classes: dict[tuple[type, bool], type] = {}


def _encode(module: nn.Module, table: dict, aliases: list[nn.Module]) -> None:
    if table["method"] not in _decoders():
        raise RankfoldError(f"rankfold: this loader does not know the method `{table['method']}`")
    old = module.weight
    if list(old.shape) != list(table["shape"]):
        raise RankfoldError(f"rankfold: the table is {table['shape']}, the model has {list(old.shape)}")
    for one in (module, *aliases):
        del one._parameters["weight"]
        one.__dict__["_table"] = table
        # Says in which dtype rows are wanted, and goes where the module goes.
        one.register_buffer("_like", torch.empty(0, dtype=old.dtype), persistent=False)
    stem = table["parts"][0].rpartition(".")[0]
    names = [part[len(stem) + 1:] for part in table["parts"]]
    for name, layout in zip(names, table["layout"]):
        *path, last = name.split(".")
        layer = module
        for step in path:
            if step not in layer._modules:
                layer.add_module(step, nn.Module())
            layer = layer._modules[step]
            layer._is_hf_initialized = True  # parts with names of their own; nothing else is in it
        layer.register_buffer(last, torch.empty(layout["shape"], dtype=DTYPES[layout["dtype"]], device=old.device))
    module.__dict__["_parts"] = names
    module.__class__ = _encoded_class(type(module), "weight" in names)
    for alias in aliases:
        alias.__dict__["_owner"] = module
        alias.__class__ = _encoded_class(type(alias), False)


DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
          "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8}


def _leave(module: nn.Module, table: dict, aliases: list[nn.Module]) -> None:
    """A table of a narrower float is a table."""


# How the module of a table is made ready for the tensors that a method stores.
METHODS: dict[str, Callable[[nn.Module, dict, list[nn.Module]], None]] = {
    "low-rank": _factor_pair,
    "low-rank-fixed": _encode,
    "fixed-point": _encode,
    "cast": _leave,
    "transform": _encode,
    "product": _encode,
    "ggml": _encode,
}


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
        if module is None or isinstance(module, (_Factorized, _Encoded)):
            continue
        if not isinstance(module, (nn.Embedding, nn.Linear)):
            raise RankfoldError(f"rankfold: `{name}` is a {type(module).__name__}, neither Embedding nor Linear")
        sharing = {id(m): m for m in modules.values() if m is not module and getattr(m, "weight", 0) is module.weight}
        sharing.update(_tied_by_name(model, modules, module))
        METHODS[table["method"]](module, table, list(sharing.values()))
        parts = module.__dict__.get("_parts", ["proj.weight"] if isinstance(module, _Factorized) else [])
        _declare_shared(model, [n for n, m in modules.items() if m is module], parts)
        if isinstance(module, _Encoded):
            # Neither it nor a parent (T5's) that fills its tables with random numbers itself has any to fill.
            # transformers 5 looks at each tensor, and both may have buffers to fill there (Gemma's scale).
            if not isinstance(getattr(model, "all_tied_weights_keys", None), dict):
                parents = [parent for parent in modules.values() if module in parent._modules.values()]
                for one in (module, *sharing.values(), *parents):
                    one._is_hf_initialized = True
            _forget_ties(model, [n for n, m in modules.items() if id(m) in {id(module), *sharing}])
        found.append(name)
    _resizable(model, modules)
    return found


def _forget_ties(model: nn.Module, names: list[str]) -> None:
    """Modules tied to codes share their decoder, not a parameter: transformers 5 has no weight to tie them by."""
    known = getattr(model, "all_tied_weights_keys", None)
    if isinstance(known, dict):
        weights = {f"{name}.weight" for name in names}
        model.all_tied_weights_keys = {key: value for key, value in known.items() if key not in weights}


def _resizable(model: nn.Module, modules: dict[str, nn.Module]) -> None:
    """Lets `resize_token_embeddings` keep `proj` of a head, and tell the configuration; codes cannot grow."""
    if not hasattr(model, "resize_token_embeddings"):
        return
    if any(isinstance(module, _Encoded) for module in modules.values()):
        model.resize_token_embeddings = _refuse_resizing
        return
    model.resize_token_embeddings = types.MethodType(_resize, model)
    if hasattr(model, "_get_resized_lm_head"):
        model._get_resized_lm_head = types.MethodType(_resized_head, model)


def _resize(model: nn.Module, *rest: Any, **options: Any) -> nn.Module:
    """A model that is saved now has tables of other shapes than its configuration said."""
    table = type(model).resize_token_embeddings(model, *rest, **options)
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, record in getattr(getattr(model.config, "quantization_config", None), "tables", {}).items():
        for module in [modules[n] for n in _names(name, model) if n in modules][:1]:
            record["shape"] = [module.weight.shape[0], record["shape"][1]]
            if isinstance(module, _Factorized):  # BART puts one module where three were tied
                _declare_shared(model, [n for n, m in modules.items() if m is module], ["proj.weight"])
    return table


def _refuse_resizing(count: Optional[int] = None, *rest: Any, **options: Any) -> nn.Module:
    raise RankfoldError("rankfold: a table of codes cannot be resized; `rankfold restore` makes a dense checkpoint")


def _resized_head(model: nn.Module, head: nn.Module, *rest: Any, **options: Any) -> nn.Module:
    """transformers makes a plain Linear of the resized weight, which is the first factor."""
    resized = type(model)._get_resized_lm_head(model, head, *rest, **options)
    if isinstance(head, FactorizedLinear) and not isinstance(resized, _Factorized):
        if "_owner" in head.__dict__:
            resized.__dict__["_owner"] = head._owner
        else:
            resized.proj = head.proj
        resized.__class__ = type(head)
    return resized


def _tied_by_name(model: nn.Module, modules: dict[str, nn.Module], module: nn.Module) -> dict[int, nn.Module]:
    """The modules that transformers 5 will tie to `module`: while it loads, parameters are not shared yet."""
    known = getattr(model, "all_tied_weights_keys", None)
    if not isinstance(known, dict):
        return {}
    own = {f"{name}.weight" for name, one in modules.items() if one is module}
    sources = {known.get(name, name) for name in own}
    names = sources | {target for target, source in known.items() if source in sources}
    tied = (modules.get(name[: -len(".weight")]) for name in names if name.endswith(".weight"))
    return {id(one): one for one in tied if one is not None and one is not module and hasattr(one, "weight")}


def _declare_shared(model: nn.Module, names: list[str], parts: list[str]) -> None:
    """Tells `save_pretrained` that the parts of one module under several names (T5's table) are to be stored once."""
    for part in parts:
        _declare_one_shared(model, [f"{name}.{part}" for name in names])


def _declare_one_shared(model: nn.Module, names: list[str]) -> None:
    first, *others = names
    for attribute in ("_tied_weights_keys", "all_tied_weights_keys"):
        known = getattr(model, attribute, None)
        if isinstance(known, dict):  # transformers 5
            setattr(model, attribute, {**known, **{other: first for other in others}})
        elif others and attribute == "_tied_weights_keys" and hasattr(model, "config"):
            setattr(model, attribute, [*(known or []), *others])


def _names(table: str, model: nn.Module, ending: str = ".weight") -> Iterable[str]:
    """Names that the module of `table` may have: heads add a prefix to the names of the bare model, or lack it."""
    name = table[: -len(ending)] if ending and table.endswith(ending) else table
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
    if manifest.get("carrier"):
        raise RankfoldError(f"rankfold: the factors are where `{manifest['carrier']['name']}` has a place for them; no "
                            f"loader is needed")
    stored = {tensor["name"]: tensor for record in manifest["files"] for tensor in record.get("tensors", [])}
    tables = {table["name"]: {**table, "layout": [stored[part] for part in table["parts"]]}
              for table in manifest["tables"]}
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
            self._directory = directory
            if not swap_tables(model, self.quantization_config.tables):
                raise RankfoldError(f"rankfold: {type(model).__name__} has none of the tables "
                                    f"{sorted(self.quantization_config.tables)}")

        def update_missing_keys(self, model: nn.Module, missing_keys: list[str], prefix: str) -> list[str]:
            # transformers 4 makes what a checkpoint lacks, such as the bias of a new head, of memory as it finds it, and
            # fills only what layers of known kinds have.
            self._missing = missing_keys
            return missing_keys

        def _process_model_after_weight_loading(self, model: nn.Module, **kwargs: Any) -> nn.Module:
            parameters = dict(model.named_parameters())
            for name in getattr(self, "_missing", ()):
                if name.rpartition(".")[2] == "bias" and name in parameters:
                    nn.init.zeros_(parameters[name])
            if self._directory is not None:
                _take_as_stored(model, self._directory)
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


def _take_as_stored(model: nn.Module, directory: str) -> None:
    """Reads the floats of encoded tables again, which transformers cast to the dtype of the model: scales are few, and a
    scale of fewer digits is another one."""
    from safetensors import safe_open

    wanted = {}
    for module in {id(m): m for m in model.modules() if isinstance(m, _Encoded) and "_parts" in m.__dict__}.values():
        table = module._table
        for name, part, layout in zip(module._parts, table["parts"], table["layout"]):
            layer = module.get_submodule(name.rpartition(".")[0])
            last = name.rpartition(".")[2]
            if DTYPES[layout["dtype"]].is_floating_point:
                # A model saved again may have its base model's prefix, or none.
                wanted.update({key: (layer, last) for key in _names(part, model, ending="")})
    for path in sorted(Path(directory).glob("*.safetensors")) if wanted else []:
        with safe_open(str(path), framework="pt") as file:
            for key in file.keys():
                if key in wanted:
                    layer, last = wanted[key]
                    layer._buffers[last] = file.get_tensor(key).to(layer._buffers[last].device)


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
