import dataclasses
import json

import pytest

from convbench.config import EvalConfig, TrainConfig, slug
from convbench.errors import ConfigError, UnknownNameError


def test_run_id_of_the_defaults_is_stable():
    # A change here means that every user's runs get new names: change it knowingly, and say so in the changelog.
    assert TrainConfig().run_id == GOLDEN_RUN_ID


GOLDEN_RUN_ID = "digits-resnet8-bn-s0-d9914ba4"


def test_run_id_depends_on_every_field_that_the_result_depends_on():
    for field in dataclasses.fields(TrainConfig):
        other = {
            "schedule": "constant", "precision": "float32", "augment": "none", "label_noise": "pair",
            "mean": (0.5,), "std": (0.5,), "milestones": (3,), "train_fraction": 0.5, "label_noise_rate": 0.25,
            "train_examples": 7, "image_size": 64,
        }.get(field.name)  # fmt: skip
        if other is None:
            other = {str: "other", int: 3, float: 0.125, bool: True}.get(type(field.default), "other")
        extra = {"mean": {"std": (0.5,)}, "std": {"mean": (0.5,)}, "label_noise": {"label_noise_rate": 0.5}}
        base = {"label_noise": {"label_noise_rate": 0.5}}.get(field.name, {})
        changed = TrainConfig(**({field.name: other} | extra.get(field.name, {})))
        same = changed.run_id == TrainConfig(**base).run_id
        assert same == (field.name in ("data_dir", "track_spectrum")), field.name


def test_config_survives_json():
    config = TrainConfig(norm="mixture:components=5", milestones=(3, 7), mean=(0.5,), std=(0.25,), label_noise_rate=0.4)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_label_noise_defaults_to_symmetric_where_there_is_a_rate():
    assert TrainConfig().label_noise == "none"
    assert TrainConfig(label_noise_rate=0.2).label_noise == "symmetric"


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (TrainConfig, {"lr": 0.0}, "--lr must be above 0"),
        (TrainConfig, {"lr": float("nan")}, "--lr must be above 0"),
        (TrainConfig, {"epochs": 0}, "--epochs must be at least 1, got 0"),
        (TrainConfig, {"batch_size": -1}, "--batch-size"),
        (TrainConfig, {"momentum": 1.0}, r"--momentum must be in \[0, 1\)"),
        (TrainConfig, {"label_noise_rate": 1.5}, "--label-noise-rate must be at least 0 and at most 1"),
        (TrainConfig, {"label_noise": "pair"}, "contradicts --label-noise-rate 0"),
        (TrainConfig, {"label_noise": "none", "label_noise_rate": 0.1}, "contradicts"),
        (TrainConfig, {"train_fraction": 0.0}, "--train-fraction must be above 0 and at most 1"),
        (TrainConfig, {"train_fraction": 0.5, "train_examples": 3}, "give one"),
        (TrainConfig, {"schedule": "cosin"}, "--schedule must be one of cosine, multistep, constant, got 'cosin'"),
        (TrainConfig, {"milestones": (5, 3)}, "--milestones must be ascending epochs"),
        (TrainConfig, {"mean": (0.5,)}, "--mean must be given together with --std"),
        (TrainConfig, {"mean": (0.5,), "std": (0.0,)}, "--std must be above 0"),
        (TrainConfig, {"seed": -1}, "--seed must be at least 0"),
        (EvalConfig, {"severities": (0,)}, "--severity must be of 1, 2, 3, 4, 5"),
        (EvalConfig, {"severities": ()}, "--severity"),
        (EvalConfig, {"examples": -5}, "--examples must be at least 0"),
        (EvalConfig, {"checkpoint": "first"}, "--checkpoint must be one of best, last"),
        (EvalConfig, {"split": "all"}, "--split must be one of test, validation, train"),
    ],
)
def test_a_value_out_of_range_names_its_option(config, settings, message):
    with pytest.raises(ConfigError, match=message):
        config(**settings)


def test_unknown_setting_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown setting 'epoch'\. Did you mean 'epochs'"):
        TrainConfig.from_dict({"epoch": 3})


@pytest.mark.parametrize(
    ("text", "name"),
    [("path/to/my.py:make", "my.py-make"), ("mixture:components=5", "mixture-components=5"), ("folder:/a/b c", "b-c")],
)
def test_slug_is_a_file_name(text, name):
    assert slug(text) == name
