"""The pipelines of docs/ci.md, run as the services run them: each step in a shell that stops at the first failure."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
RANKFOLD = os.environ.get("RANKFOLD_BIN") or "rankfold"
YAML = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs/ci.md").read_text(), re.DOTALL | re.MULTILINE)
SHELL = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs/ci.md").read_text(), re.DOTALL | re.MULTILINE)


def github(document):
    """Variables, and the steps of each job that run commands."""
    jobs = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in document["jobs"].items()}
    uploads = [step["with"]["path"].split() for step in document["jobs"]["compress"]["steps"]
               if step.get("uses", "").startswith("actions/upload-artifact")]
    return document["env"], jobs, uploads[0]


def gitlab(document):
    jobs = {name: ["\n".join(job["script"])] for name, job in document.items()
            if isinstance(job, dict) and "script" in job}
    return document["variables"], jobs, document["compress"]["artifacts"]["paths"]


PIPELINES = {"github": github(yaml.safe_load(YAML[0])), "gitlab": gitlab(yaml.safe_load(YAML[1]))}


class Workspace:
    """A checked-out repository with a checkpoint, and `rankfold` on PATH."""

    def __init__(self, root, variables, **changed):
        self.directory = root / "work"
        self.directory.mkdir()
        shutil.copytree(ROOT / "fixtures" / "bert-tied", self.directory / "checkpoint")
        (root / "bin").mkdir()
        (root / "bin" / "rankfold").symlink_to(Path(shutil.which(RANKFOLD)).resolve())
        paths = {"PATH": f"{root / 'bin'}:{os.environ['PATH']}"}
        self.environment = {**os.environ, **{name: str(value) for name, value in variables.items()}, **changed, **paths}

    def run(self, steps):
        """Runs `steps` until one fails; gives its exit code, or 0."""
        for step in steps:
            shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step]
            code = subprocess.run(shell, cwd=self.directory, env=self.environment, capture_output=True).returncode
            if code:
                return code
        return 0


@pytest.fixture(params=sorted(PIPELINES))
def pipeline(request):
    return PIPELINES[request.param]


def test_there_are_two_pipelines_and_a_script_in_the_document():
    assert (len(YAML), len(SHELL)) == (2, 1)
    for _, jobs, _ in PIPELINES.values():
        assert sorted(jobs) == ["check", "compress"]


def test_a_checkpoint_that_meets_the_gates_is_archived_and_checked(pipeline, tmp_path):
    variables, jobs, artifacts = pipeline
    workspace = Workspace(tmp_path, variables)
    assert workspace.run(jobs["compress"]) == 0
    # Nothing but the artifacts gets from one job to the other.
    for path in workspace.directory.iterdir():
        if path.name not in artifacts:
            shutil.rmtree(path)
    assert sorted(path.name for path in workspace.directory.iterdir()) == sorted(artifacts)
    assert workspace.run(jobs["check"]) == 0


@pytest.mark.parametrize("gate", [{"MAX_SIZE": "10KB"}, {"MAX_ERROR": "0.01"}])
def test_a_gate_that_is_not_met_ends_with_4_and_archives_nothing(pipeline, gate, tmp_path):
    variables, jobs, _ = pipeline
    workspace = Workspace(tmp_path, variables, **gate)
    assert workspace.run(jobs["compress"]) == 4
    assert not (workspace.directory / "small.tar.gz").exists()
    assert (workspace.directory / "small").exists() == ("MAX_ERROR" in gate), "too large a one is not written at all"


def test_wrong_usage_ends_with_2_and_a_missing_checkpoint_with_1(pipeline, tmp_path):
    variables, jobs, _ = pipeline
    workspace = Workspace(tmp_path, variables, REDUCTION="much")
    assert workspace.run(jobs["compress"]) == 2
    shutil.rmtree(workspace.directory / "checkpoint")
    workspace.environment["REDUCTION"] = "0.5"
    assert workspace.run(jobs["compress"]) == 1


def test_a_source_that_is_not_the_one_converted_ends_with_3(tmp_path):
    variables, jobs, _ = PIPELINES["github"]
    workspace = Workspace(tmp_path, variables)
    assert workspace.run(jobs["compress"][:1]) == 0
    with (workspace.directory / "checkpoint" / "vocab.txt").open("a") as file:
        file.write("word\n")
    assert workspace.run(jobs["compress"][1:]) == 3


def test_an_archive_that_was_changed_ends_with_3_even_if_its_own_records_were_made_to_fit(pipeline, tmp_path):
    variables, jobs, _ = pipeline
    workspace = Workspace(tmp_path, variables)
    assert workspace.run(jobs["compress"]) == 0
    # Another output of the same program, sound in itself, in the place of the archived one.
    forge = ["rankfold compress checkpoint -o small --rank 3 --force", "tar --create --gzip --file small.tar.gz small"]
    assert workspace.run(forge) == 0
    assert workspace.run(["rankfold verify small"]) == 0
    assert workspace.run(jobs["check"]) == 3


def test_the_script_goes_on_where_a_gate_was_not_met_and_fails_otherwise(tmp_path):
    variables, _, _ = PIPELINES["github"]
    workspace = Workspace(tmp_path, variables, MAX_SIZE="10KB")
    assert workspace.run(SHELL) == 0
    assert not (workspace.directory / "small").exists()
    workspace.environment["REDUCTION"] = "7"
    assert workspace.run(SHELL) in (1, 2)
