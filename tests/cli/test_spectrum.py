"""`convbench spectrum`: runs and models, its files, and what it refuses."""

import csv
import shutil

import pytest
import torch

from convbench.models.loading import build_model


@pytest.fixture
def runs(trained, tmp_path):
    """Two runs under runs/, of which one tracked its norms."""
    for name in ("one", "two"):
        shutil.copytree(trained.folder, tmp_path / "runs" / name)
    (tmp_path / "runs" / "two" / "spectrum_history.csv").write_text(
        "epoch,metric,layer,value\n0,spectral_norm,a,1.5\n1,spectral_norm,a,2.0\n"
    )
    return tmp_path / "runs"


def lines(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_all_runs_are_shown_and_written(cli, runs, tmp_path):
    code, out, err = cli("spectrum")
    assert code == 0, err
    assert all(len(line) <= 80 for line in out.splitlines())
    assert out.splitlines()[-5:] == [
        "spectrum/layers.csv",
        "spectrum/singular_values.csv",
        "spectrum/singular_values.png",
        "spectrum/depth.png",
        "spectrum/training.png",
    ]
    table = lines(tmp_path / "spectrum" / "layers.csv")
    assert len(table) == 2 * len({row["layer"] for row in table})
    for row in table:
        low, value, high = (float(row["spectral_norm" + end]) for end in ("_lower", "", "_upper"))
        assert low <= value <= high
    values = lines(tmp_path / "spectrum" / "singular_values.csv")
    for row in table:
        own = [v for v in values if (v["network"], v["layer"], v["operator"]) == (row["network"], row["layer"], "own")]
        top = row["spectral_norm_composed"] if own[0]["composed"] == "True" else row["spectral_norm"]
        assert float(own[0]["value"]) == pytest.approx(float(top), rel=1e-3)
    for name in ("singular_values", "depth", "training"):
        assert (tmp_path / "spectrum" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_with_weights(cli, tmp_path):
    model = build_model("simple_cnn:width=4", "bn", 10, 1, seed=3)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    asked = ("simple_cnn:width=4", "--weights", "w.pt", "--channels", 1, "--image-size", 12, "--table-only", "--quiet")
    code, out, _ = cli("spectrum", *asked)
    assert code == 0
    assert "simple_cnn:width=4, 1×12×12 images" in out
    assert sorted(path.name for path in (tmp_path / "spectrum").iterdir()) == ["layers.csv"]
    first = lines(tmp_path / "spectrum" / "layers.csv")[0]
    weight = next(p for name, p in model.named_parameters() if name.endswith("weight"))
    expected = float(torch.linalg.matrix_norm(weight.detach().flatten(1).double(), 2))
    assert float(first["kernel_matrix_norm"]) == pytest.approx(expected)


def test_a_pattern_chooses_layers_and_svg_is_a_format(cli, runs, tmp_path):
    code, *_ = cli("spectrum", "runs/one", "--layers", "*.0*", "--format", "svg", "--out", "s", "--quiet")
    assert code == 0
    assert {row["layer"].count(".0") > 0 for row in lines(tmp_path / "s" / "layers.csv")} == {True}
    assert (tmp_path / "s" / "depth.svg").read_text().lstrip().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runs/one", "--layers", "nothing*"], "--layers nothing* fits none of the"),
        (["runs/one", "--spectral-budget", "slow"], "--spectral-budget must be one of exact, fast, got 'slow'"),
        (["runs/one", "--format", "pdf"], "--format must be one of png, svg, got 'pdf'"),
        (["runs/one", "resnet8"], "give run folders, or one model; 'resnet8' is no folder"),
        (["runs/one", "--weights", "w.pt"], "--weights and --norm belong to a MODEL"),
        (["resnet9"], "unknown model 'resnet9'. Did you mean 'resnet"),
        (["resnet8", "--weights", "none.pt"], "none.pt"),
        (["resnet8", "--channels", "2"], "--channels 2 is out of its range"),
        (["empty"], "holds no config.json"),
    ],
)
def test_what_cannot_be_shown_is_one_line(cli, runs, tmp_path, arguments, words):
    (tmp_path / "empty").mkdir()
    code, out, err = cli("spectrum", *arguments, "--quiet")
    assert (code, out) == (2, "")
    assert words in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_torn_history_is_named(cli, runs):
    (runs / "two" / "spectrum_history.csv").write_text("epoch,metric,layer,value\n0,spectral_norm\n")
    code, _, err = cli("spectrum", "runs/two", "--table-only", "--quiet")
    assert code == 2
    assert "spectrum_history.csv" in err


def test_without_runs(cli):
    code, _, err = cli("spectrum")
    assert code == 2
    assert "there is no trained run under runs/" in err
