"""Weight files of every kind: loaded, or refused in one line."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from convbench.errors import CheckpointError
from convbench.models import apply_state_dict, build_model, load_weights, read_state_dict


def small(seed: int = 0, **options: Any) -> nn.Module:
    return build_model("simple_cnn:width=2", seed=seed, **options)


def same(first: nn.Module, second: nn.Module) -> bool:
    other = second.state_dict()
    return all(torch.equal(value, other[key]) for key, value in first.state_dict().items())


def write(path: Path, state: Any) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".bin"])
def test_every_kind_of_file_is_read(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"weights{suffix}", small(1).state_dict())
    model = small(2)
    load_weights(model, path)
    assert same(model, small(1))


@pytest.mark.parametrize("section", ["state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_sections_and_prefixes_are_tolerated(tmp_path: Path, section: str, prefix: str) -> None:
    state = {prefix + key: value for key, value in small(1).state_dict().items()}
    path = write(tmp_path / "weights.pt", {section: state, "epoch": 3, "optimizer": {"lr": 0.1}})
    model = small(2)
    load_weights(model, path)
    assert same(model, small(1))


def test_weights_go_behind_the_standardization(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.safetensors", small(1).state_dict())
    model = small(2, mean=(0.5,), std=(0.5,))
    load_weights(model, path)
    assert same(small(1), model.get_submodule("network"))
    assert model.get_submodule("standardize").get_buffer("mean").flatten().tolist() == [0.5] * 3


def test_file_of_a_whole_classifier_brings_its_standardization(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.safetensors", small(1, mean=(0.25,), std=(0.5,)).state_dict())
    model = small(2, mean=(0.0,), std=(1.0,))
    load_weights(model, path)
    assert same(model, small(1, mean=(0.25,), std=(0.5,)))


def test_mismatch_is_one_message_with_counts(tmp_path: Path) -> None:
    state = small(1).state_dict()
    names = list(state)
    state["odd.weight"] = torch.zeros(2)
    state[names[-1]] = torch.zeros(7)
    for name in names[:7]:
        del state[name]
    model = small(2)
    path = write(tmp_path / "weights.pt", state)
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert f"7 missing ({', '.join(names[:5])}, and 2 more)" in message
    assert "1 unexpected (odd.weight)" in message
    assert f"1 misshapen ({names[-1]} 7 instead of 10)" in message
    assert same(model, small(2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    state = small(1).state_dict()
    name = list(state)[-2]
    state[name].view(-1)[3] = value
    model = small(2)
    with pytest.raises(CheckpointError, match=f"tensor '{name}' holds a NaN or an infinity"):
        load_weights(model, write(tmp_path / "weights.pt", state))
    assert same(model, small(2))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_truncated_file(tmp_path: Path, suffix: str, keep: float) -> None:
    path = write(tmp_path / f"weights{suffix}", small().state_dict())
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(CheckpointError, match=r"weight file .*weights") as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("content", [b"<html>404</html>", b"\x80\x02garbage", b"PK\x03\x04zip?"])
def test_file_that_is_something_else(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="weight file") as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)


class _Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.pt", {"weight": _Malicious(tmp_path / "pwned")})
    with pytest.raises(CheckpointError, match=r"holds more than tensors \(.*mkdir\).*safetensors"):
        read_state_dict(path)
    assert not (tmp_path / "pwned").exists()


def test_whole_pickled_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = write(tmp_path / "weights.pt", nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match=r"Linear.*save `model.state_dict\(\)` only"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [([1, 2], "but list"), ({}, "but dict"), ({"epoch": 3, "loss": 0.5}, "'epoch' is int"), (torch.ones(2), "Tensor")],
)
def test_file_without_a_state_dict(tmp_path: Path, content: Any, complaint: str) -> None:
    with pytest.raises(CheckpointError, match=f"holds no state_dict.*{complaint}"):
        read_state_dict(write(tmp_path / "weights.pt", content))


def test_missing_file_and_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        read_state_dict(tmp_path / "none.pt")
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"unknown kind '\.h5'; choose from: \.safetensors"):
        read_state_dict(tmp_path / "weights.h5")


def test_a_module_own_refusal_is_a_checkpoint_error() -> None:
    class Refusing(nn.Linear):
        def _load_from_state_dict(self, *args: Any) -> None:
            args[-1].append("not today")

    model = Refusing(2, 2)
    with pytest.raises(CheckpointError, match="not today"):
        apply_state_dict(model, model.state_dict(), Path("weights.pt"))
