"""Signatures over an output by PyPI's model-signing: over the statement of `rankfold manifest --oms`, and its own."""

import json
import os
import subprocess
from pathlib import Path

import pytest

RANKFOLD = os.environ.get("RANKFOLD_BIN") or "rankfold"
FIXTURES = Path(__file__).parents[3] / "fixtures"
SIGN = Path(__file__).with_name("sign.py")


def signing(*arguments, code=0):
    """Runs the interpreter that has model-signing."""
    python = os.environ.get("RANKFOLD_SIGNING_PYTHON")
    assert python, "RANKFOLD_SIGNING_PYTHON is not set to a Python with model-signing; tests/run sets it"
    done = subprocess.run([python, "-B", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def rankfold(*arguments, code=0):
    done = subprocess.run([RANKFOLD, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def check(output, keys, signature, code=0):
    return signing("-m", "model_signing", "verify", "key", output, "--public_key", keys / "key.pub", "--signature",
                   signature, code=code)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    signing(SIGN, "keys", folder)
    return folder


@pytest.fixture
def output(tmp_path):
    # With files in folders, weights among them.
    rankfold("compress", FIXTURES / "sentence-transformers", "-o", tmp_path / "out", "--reduction", "0.5")
    return tmp_path / "out"


def test_a_signed_statement_is_verified_by_the_tool_and_a_changed_file_is_found(output, keys, tmp_path):
    statement, signature = tmp_path / "statement.json", tmp_path / "out.sig"
    statement.write_text(rankfold("manifest", output, "--oms"))
    annotations = [resource["annotations"] for resource in json.loads(statement.read_text())["predicate"]["resources"]
                   if "annotations" in resource]
    assert annotations and all(len(one["tensors"]) for one in annotations)
    signing(SIGN, "sign", statement, keys / "key.pem", signature)
    check(output, keys, signature)
    assert annotations[0] in [resource.get("annotations") for resource
                              in json.loads(signing(SIGN, "show", signature).stdout)["predicate"]["resources"]]
    file = output / "1_Pooling" / "config.json"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"4", b"5", 1))
    check(output, keys, signature, code=1)
    file.write_bytes(content)
    (output / "added").write_text("")
    check(output, keys, signature, code=1)


def test_the_tool_makes_the_same_statement_but_for_the_annotations(output, keys, tmp_path):
    signature = tmp_path / "theirs.sig"
    signing("-m", "model_signing", "sign", "key", output, "--private_key", keys / "key.pem", "--signature", signature)
    check(output, keys, signature)
    theirs = json.loads(signing(SIGN, "show", signature).stdout)
    ours = json.loads(rankfold("manifest", output, "--oms"))
    for resource in ours["predicate"]["resources"]:
        resource.pop("annotations", None)
    assert ours["predicate"]["resources"] == theirs["predicate"]["resources"]
    assert ours["subject"] == theirs["subject"]
    assert (ours["_type"], ours["predicateType"]) == (theirs["_type"], theirs["predicateType"])
    for key in ("method", "hash_type", "allow_symlinks"):
        assert ours["predicate"]["serialization"][key] == theirs["predicate"]["serialization"][key]
