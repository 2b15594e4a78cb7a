"""The program and the Python of its output give the same learning rates."""

import itertools
import json

import pytest
import torch
from conftest import run
from rankfold_schedule import CALR, SCHEDULES, RateScheduler, Settings, calr

PARAMETERS = [
    dict(max_lr=1e-3, base_lr=1e-6, step_size=1000, steps_per_epoch=1000),
    dict(max_lr=1e-3, base_lr=1e-6, step_size=700, steps_per_epoch=333),
    dict(max_lr=2e-2, base_lr=0.0, step_size=17, steps_per_epoch=251, decay=0.9),
    dict(max_lr=5e-5, base_lr=1e-7, step_size=100, steps_per_epoch=64, decay=1.0),
    dict(max_lr=1.0, base_lr=0.3, step_size=1, steps_per_epoch=1, decay=0.5, decay_every=3),
    dict(max_lr=1e-1, base_lr=1e-4, step_size=40, steps_per_epoch=1, decay=0.99, gamma=0.999),
    dict(max_lr=1e-2, base_lr=0.0, step_size=3, steps_per_epoch=1, decay=1.0),
    dict(max_lr=3e-4, base_lr=2.9e-4, step_size=2500, steps_per_epoch=77, decay=0.3, decay_every=2),
]


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_rust_and_python_are_equal_on_every_schedule(parameters):
    settings = Settings(**parameters, updates=5000)
    options = itertools.chain.from_iterable((f"--{key.replace('_', '-')}", repr(value))
                                            for key, value in parameters.items())
    document = json.loads(run("schedule", "all", "--json", "--updates", 5000, *options).stdout)
    assert {one["name"] for one in document["schedules"]} == set(SCHEDULES)
    for one in document["schedules"]:
        own = [SCHEDULES[one["name"]](settings, t) for t in range(5000)]
        assert len(one["rates"]) == 5000
        assert own == pytest.approx(one["rates"], rel=1e-12, abs=1e-300), one["name"]


def test_the_scheduler_gives_the_closed_form_and_resumes():
    def make():
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([parameter], lr=1e-3)
        return optimizer, CALR(optimizer, max_lr=1e-3, base_lr=1e-6, step_size=7, steps_per_epoch=10)

    settings = Settings(1e-3, 1e-6, 7, 10)
    optimizer, scheduler = make()
    for t in range(60):
        assert optimizer.param_groups[0]["lr"] == calr(settings, t) == scheduler.get_last_lr()[0]
        optimizer.step()
        scheduler.step()
    state = json.loads(json.dumps(scheduler.state_dict()))
    optimizer, scheduler = make()
    scheduler.load_state_dict(state)
    assert scheduler.get_last_lr() == [calr(settings, 60)]
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [calr(settings, 61)]


def test_groups_with_rates_of_their_own_keep_their_ratio():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1e-2, 1e-3)]
    scheduler = RateScheduler(torch.optim.SGD(groups), Settings(1e-2, 1e-5, 5, 10), "triangular")
    first, second = scheduler.get_last_lr()
    assert first == SCHEDULES["triangular"](Settings(1e-2, 1e-5, 5, 10), 0)
    assert second == pytest.approx(first / 10)


def test_the_trainer_of_transformers_takes_it_and_resumes_with_the_same_rates(tmp_path):
    import transformers

    def train(steps, checkpoint=None):
        torch.manual_seed(0)
        model = transformers.BertForSequenceClassification(transformers.BertConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        rates = []

        class Watch(transformers.TrainerCallback):
            def on_step_begin(self, arguments, state, control, **more):
                rates.append((state.global_step, more["lr_scheduler"].get_last_lr()[0]))

        options = transformers.TrainingArguments(str(tmp_path), max_steps=steps, save_steps=5, report_to=[], use_cpu=True,
                                                 per_device_train_batch_size=2)
        rows = [{"input_ids": [1, 2, 3 + index % 9], "labels": index % 2} for index in range(8)]
        scheduler = CALR(optimizer, 1e-3, 1e-5, step_size=3, steps_per_epoch=4)
        trainer = transformers.Trainer(model, options, train_dataset=rows, callbacks=[Watch()],
                                       optimizers=(optimizer, scheduler))
        trainer.train(resume_from_checkpoint=checkpoint)
        return rates

    expected = [(t, calr(Settings(1e-3, 1e-5, 3, 4), t)) for t in range(11)]
    assert train(5) == expected[:5]
    assert train(11, str(tmp_path / "checkpoint-5")) == expected[5:]


@pytest.mark.parametrize("wrong", [dict(max_lr=0.0), dict(base_lr=1.0), dict(decay=1.5), dict(step_size=0)])
def test_settings_out_of_range_are_refused_by_both(wrong):
    good = dict(max_lr=1e-3, base_lr=1e-6)
    with pytest.raises(ValueError):
        Settings(**{**good, **wrong})
    options = itertools.chain.from_iterable((f"--{key.replace('_', '-')}", value) for key, value in {**good, **wrong}.items())
    run("schedule", *options, code=1)


def test_the_drawing_and_the_picture_are_made(tmp_path):
    shown = run("schedule", "calr", "cosine", "--max-lr", "1e-3", "--svg", tmp_path / "rates.svg").stdout
    assert shown.count("*") > 100 and "arXiv 1811.00641" in shown
    import xml.etree.ElementTree as tree

    root = tree.parse(tmp_path / "rates.svg").getroot()
    assert len(root.findall("{http://www.w3.org/2000/svg}polyline")) == 2
    lines = run("schedule", "--max-lr", "1e-3", "--format", "csv").stdout.splitlines()
    assert lines[0] == "update,epoch,calr" and len(lines) == 8001
