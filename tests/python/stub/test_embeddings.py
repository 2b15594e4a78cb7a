"""What a narrow table does as a module, on every family: gradients, tied heads, padding, resizing, half precision."""

import json

import pytest
import rankfold_loader  # noqa: F401  what the outputs need to load
import torch
from conftest import NAMES, RANK, TIED, VOCABULARY, WIDTH
from rankfold_loader import FactorizedLinear
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


def first(output):
    """The logits, or the hidden states of a model without a head."""
    logits = getattr(output, "logits", None)
    return output.last_hidden_state if logits is None else logits


def loss(output):
    """Not of squares alone: those of normalized hidden states have a mean that nothing changes."""
    out = first(output).float()
    return (out * torch.linspace(-1.0, 2.0, out.numel()).reshape(out.shape)).mean()


def outputs(model, inputs):
    with torch.no_grad():
        return first(model.eval()(**inputs))


def close(found, expected, tolerance):
    assert found.shape == expected.shape
    assert (found.float() - expected.float()).abs().max() <= tolerance * max(1.0, float(expected.abs().max()))


def pair(model):
    table = model.get_input_embeddings()
    return table, table._pair()


class Shapes(TorchDispatchMode):
    """Writes down the shape of everything that is computed, in the backward pass too."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        self.seen |= {tuple(one.shape) for one in tree_flatten(result)[0] if isinstance(one, torch.Tensor)}
        return result


def makes_the_table(model, inputs):
    """Whether a pass over `inputs` and back makes anything of the table's shape, or of its transpose's."""
    with Shapes() as shapes:
        loss(model.train()(**inputs)).backward()
    return bool(shapes.seen & {(VOCABULARY, WIDTH), (WIDTH, VOCABULARY)})


@pytest.mark.parametrize("name", NAMES)
def test_both_factors_get_the_gradient_of_the_product(checkpoint, name):
    one = checkpoint(name)
    model, dense = one.kind.from_pretrained(one.output), one.kind.from_pretrained(one.dense)
    for each in (model, dense):
        loss(each.eval()(**one.inputs())).backward()
    table, proj = pair(model)
    gradient = dense.get_input_embeddings().weight.grad
    assert float(gradient.abs().max()) > 0.0
    # What both are compared with is large where losses are; the tolerance goes with it.
    scale = float(gradient.abs().max())
    assert torch.allclose(table.weight.grad, gradient @ proj.weight, rtol=1e-3, atol=1e-5 * scale)
    assert torch.allclose(proj.weight.grad, gradient.t() @ table.weight, rtol=1e-3, atol=1e-5 * scale)


@pytest.mark.parametrize("name", TIED)
def test_a_tied_head_shares_the_factors_and_never_multiplies_them_out(checkpoint, name):
    one = checkpoint(name)
    model = one.kind.from_pretrained(one.output)
    table, proj = pair(model)
    head = model.get_output_embeddings()
    assert isinstance(head, FactorizedLinear)
    assert head.weight is table.weight and head._pair() is proj
    # Each factor is one parameter under one name, so that an optimizer sees one gradient of it.
    shapes = [tuple(parameter.shape) for parameter in model.parameters()]
    assert shapes.count((VOCABULARY, RANK)) == shapes.count((WIDTH, RANK)) == 1
    assert makes_the_table(one.kind.from_pretrained(one.dense), one.inputs()), "what is looked for would be found"
    assert not makes_the_table(model, one.inputs())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TIED])
def test_a_head_of_its_own_stays_as_it_was(checkpoint, name):
    one = checkpoint(name)
    model, source = one.kind.from_pretrained(one.output), one.kind.from_pretrained(one.source)
    if name == "t5-untied" and source.config.tie_word_embeddings:
        pytest.skip("this version of transformers ties every head of T5")
    head = model.get_output_embeddings()
    if head is None:
        assert source.get_output_embeddings() is None
    else:
        assert type(head) is torch.nn.Linear and torch.equal(head.weight, source.get_output_embeddings().weight)


@pytest.mark.parametrize("name", NAMES)
def test_padding_stays_what_it_was_and_is_not_learned_by_looking_it_up(checkpoint, name):
    one = checkpoint(name)
    model, dense = one.kind.from_pretrained(one.output), one.kind.from_pretrained(one.dense)
    table, expected = model.train().get_input_embeddings(), dense.get_input_embeddings()
    padding = expected.padding_idx
    assert table.padding_idx == padding
    assert (padding is None) == name.startswith(("gpt2", "t5")), "the others have a row for padding"
    row, other = 0 if padding is None else padding, 5
    close(table(torch.tensor([row])), expected(torch.tensor([row])), 1e-5)
    table(torch.tensor([[other, row, 7, row]])).square().sum().backward()
    learned = table.weight.grad.abs().amax(1)
    assert learned[other] > 0.0
    # A row of zeros has no gradient from squares; GPT-2 and T5 have none.
    assert (learned[row] > 0.0) == (padding is None)


@pytest.mark.parametrize("name", NAMES)
def test_a_resized_table_gives_what_it_gave_learns_and_is_saved(checkpoint, name, tmp_path):
    one = checkpoint(name)
    model = one.kind.from_pretrained(one.output)
    expected = outputs(one.kind.from_pretrained(one.dense), one.inputs())
    model.resize_token_embeddings(VOCABULARY + 5)
    table, proj = pair(model)
    assert table.weight.shape == (VOCABULARY + 5, RANK) and proj.weight.shape == (WIDTH, RANK)
    assert table.padding_idx == one.kind.from_pretrained(one.dense).get_input_embeddings().padding_idx
    out = outputs(model, one.inputs())
    assert torch.isfinite(out).all()
    if name != "bert-bare":
        assert out.shape[-1] == VOCABULARY + 5
    close(out[..., :expected.shape[-1]], expected, 1e-5)
    if name in TIED:
        assert model.get_output_embeddings().weight is table.weight
    new = dict(one.inputs(), input_ids=one.inputs()["input_ids"] + 98)
    loss(model.train()(**new)).backward()
    table, proj = pair(model)
    assert float(table.weight.grad[VOCABULARY:].abs().max()) > 0.0 < float(proj.weight.grad.abs().max())
    model.save_pretrained(tmp_path / "again")
    again = one.kind.from_pretrained(tmp_path / "again")
    assert pair(again)[0].weight.shape == (VOCABULARY + 5, RANK)
    close(outputs(again, one.inputs()), out, 1e-6)
    block = json.loads((tmp_path / "again" / "config.json").read_text())["quantization_config"]
    assert {tuple(table["shape"]) for table in block["tables"].values()} == {(VOCABULARY + 5, WIDTH)}
    again.resize_token_embeddings(VOCABULARY - 20)
    assert pair(again)[0].weight.shape == (VOCABULARY - 20, RANK)
    kept = outputs(again, one.inputs())
    close(kept, out[..., :kept.shape[-1]], 1e-5)


def multiplies_halves():
    """torch 1.13 cannot multiply matrices of halves on a processor; singles of 16 bits with a wide exponent it can."""
    try:
        torch.ones(2, 2, dtype=torch.float16) @ torch.ones(2, 2, dtype=torch.float16)
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_loads_runs_and_learns(checkpoint, name, dtype):
    one = checkpoint(name)
    expected = outputs(one.kind.from_pretrained(one.dense), one.inputs())
    loaded = one.kind.from_pretrained(one.output, torch_dtype=dtype)
    converted = one.kind.from_pretrained(one.output).to(dtype)
    halved = one.kind.from_pretrained(one.output).half()
    assert halved.dtype == torch.float16
    for model in (loaded, converted):
        table, proj = pair(model)
        assert table.weight.dtype == proj.weight.dtype == dtype
        if name in TIED:
            head = model.get_output_embeddings()
            assert head.weight is table.weight and head._pair() is proj
        if dtype == torch.float16 and not multiplies_halves():
            continue
        close(outputs(model, one.inputs()), expected, 0.1 if dtype == torch.bfloat16 else 0.02)
        loss(model.train()(**one.inputs())).backward()
        for factor in (table.weight, proj.weight):
            assert factor.grad.dtype == dtype and float(factor.grad.abs().max()) > 0.0
            assert torch.isfinite(factor.grad).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_table_stays_of_its_class(checkpoint, name):
    """Gemma scales its hidden states and BART its rows: what does it is still there."""
    one = checkpoint(name)
    table = one.kind.from_pretrained(one.output).get_input_embeddings()
    stock = type(one.kind.from_pretrained(one.dense).get_input_embeddings())
    assert isinstance(table, stock) and isinstance(table, torch.nn.Embedding)
    assert stock is not torch.nn.Embedding or name != "bart"
