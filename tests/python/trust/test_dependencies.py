"""What deny.toml asks of the dependencies, where cargo-deny itself is not installed: licences, versions, sources."""

import json
import re
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DENY = tomllib.loads((ROOT / "deny.toml").read_text())


def cargo(command, *options):
    features = ["--all-features"] if DENY["graph"]["all-features"] else []
    call = ["cargo", command, "--locked", *features, *options]
    return subprocess.run(call, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def packages():
    """What is built or tested with. The metadata have optional dependencies besides that no feature asks for."""
    [target] = DENY["graph"]["targets"]
    tree = cargo("tree", "--target", target, "--edges", "normal,build,dev", "--prefix", "none", "--no-dedupe",
                 "--format", "{p}")
    used = {tuple(line.split()[:2]) for line in tree.splitlines()}
    known = json.loads(cargo("metadata", "--format-version", "1", "--filter-platform", target))["packages"]
    return [package for package in known if (package["name"], f"v{package['version']}") in used]


PACKAGES = packages()


def is_allowed(expression, allowed):
    """Evaluates an SPDX expression (annex D of the specification); crates of old write `/` for OR."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))

    def either():
        found = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            found = both() or found
        return found

    def both():
        found = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            found = one() and found
        return found

    def one():
        token = tokens.pop(0)
        if token == "(":
            found = either()
            assert tokens.pop(0) == ")", expression
            return found
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token = f"{token} WITH {tokens.pop(0)}"
        return token in allowed

    found = either()
    assert not tokens, f"`{expression}` ends at `{' '.join(tokens)}`"
    return found


@pytest.mark.parametrize(("expression", "expected"), [
    ("MIT", True), ("GPL-3.0", False), ("MIT OR GPL-3.0", True), ("MIT AND GPL-3.0", False), ("MIT/GPL-3.0", True),
    ("(MIT OR GPL-3.0) AND Zlib", True), ("GPL-3.0 OR MIT AND Zlib", True), ("GPL-3.0 WITH exception", False),
    ("Apache-2.0 WITH LLVM-exception", False), ("MIT AND (GPL-3.0 OR LGPL-2.1)", False),
])
def test_expressions_of_licences_are_evaluated(expression, expected):
    assert is_allowed(expression, {"MIT", "Zlib", "Apache-2.0"}) == expected


def test_every_licence_is_allowed_and_every_allowed_one_is_needed():
    allowed = set(DENY["licenses"]["allow"])
    wrong = {package["name"]: package["license"] for package in PACKAGES
             if not package["license"] or not is_allowed(package["license"], allowed)}
    assert wrong == {}
    for licence in allowed:
        assert any(licence in package["license"] for package in PACKAGES), f"no dependency is under {licence}"


def test_every_crate_that_is_there_in_several_versions_has_a_reason():
    versions = defaultdict(set)
    for package in PACKAGES:
        versions[package["name"]].add(package["version"])
    skipped = {entry["crate"] for entry in DENY["bans"]["skip"]}
    assert all(entry["reason"] for entry in DENY["bans"]["skip"])
    surplus = {name: {version for version in found if f"{name}@{version}" not in skipped}
               for name, found in versions.items() if len(found) > 1}
    assert {name: found for name, found in surplus.items() if len(found) > 1} == {}
    present = {f"{name}@{version}" for name, found in versions.items() if len(found) > 1 for version in found}
    assert skipped - present == set(), "a reason for what is not there"


def test_every_dependency_is_of_one_registry_and_has_a_version():
    sources = {package["source"] for package in PACKAGES if package["source"]}
    assert len(sources) == 1 and all(source.startswith("registry+") for source in sources), sources
    [own] = [package for package in PACKAGES if not package["source"]]
    assert [one["name"] for one in own["dependencies"] if one["req"] == "*"] == []
