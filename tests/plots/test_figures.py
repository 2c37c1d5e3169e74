"""The figures hold the lines that the comparison has numbers for, and the files are what their names say."""

import math
from dataclasses import replace

import numpy as np
import pytest

from convbench.comparison import compare
from convbench.comparison.quantities import CLEAN, severity_mean
from convbench.errors import ConfigError
from convbench.plots import corruption_figure, save_figure, severity_figure, spectrum_figure, write_plots


def test_severity_has_one_line_a_group_from_clean_to_5(compared):
    comparison = compared()
    (axes,) = severity_figure(comparison).axes
    assert [line.get_label() for line in axes.get_lines()] == ["bn", "none", "mixture"]
    for line, group in zip(axes.get_lines(), comparison.groups, strict=True):
        assert list(line.get_xdata()) == [0, 1, 2, 3, 4, 5]
        wanted = [group.estimates[CLEAN if s == 0 else severity_mean(s)].mean * 100 for s in range(6)]
        assert list(line.get_ydata()) == pytest.approx(wanted)
    assert len(axes.collections) == 3  # a band of ± sd each


def test_a_single_seed_has_no_band(compared):
    (axes,) = severity_figure(compared(seeds=(0,))).axes
    assert len(axes.collections) == 0


def test_lines_differ_in_colour_and_marker(compared):
    (axes,) = severity_figure(compared(norms=[f"norm{i}" for i in range(12)], seeds=(0,))).axes
    styles = [(line.get_color(), line.get_marker()) for line in axes.get_lines()]
    assert len(set(styles)) == 12
    assert len({color for color, _ in styles[:7]}) == 7


def test_one_panel_a_corruption(compared):
    comparison = compared()
    figure = corruption_figure(comparison)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [c.replace("_", " ") for c in comparison.corruptions]
    assert all(len(axes.get_lines()) == 3 for axes in figure.axes)
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert len(corruption_figure(compared(corruptions=[f"c{i}" for i in range(15)])).axes) == 15


def test_spectrum_draws_bare_dashed_and_composed_solid(compared):
    (axes,) = spectrum_figure(compared()).axes
    styles = [line.get_linestyle() for line in axes.get_lines()]
    assert (styles.count("--"), styles.count("-")) == (3, 2)  # mixture has no composed norm
    assert [label.get_text() for label in axes.get_xticklabels()] == ["conv1", "conv2", "fc"]
    assert axes.get_yscale() == "linear"


def test_a_composition_stands_at_its_convolution(compared):
    rows = [row for run in compared(norms=("bn",), layers=("net.stem.conv", "net.fc")).runs for row in run.rows]
    named = [
        replace(row, layer="net.stem")
        if (row.metric, row.layer) == ("spectral_norm_composed", "net.stem.conv")
        else row
        for row in rows
        if (row.metric, row.layer) != ("spectral_norm_composed", "net.fc")
    ]
    (axes,) = spectrum_figure(compare(named)).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["stem.conv", "fc"]
    bare, composed = axes.get_lines()
    assert not np.isnan(bare.get_ydata()).any()
    assert list(np.isnan(composed.get_ydata())) == [False, True]


def test_a_wide_range_is_drawn_on_a_log_axis(compared):
    (axes,) = spectrum_figure(compared(layers=[f"conv{i}" for i in range(60)])).axes
    assert axes.get_yscale() == "log"
    assert len(axes.get_xticklabels()) <= 45


@pytest.mark.parametrize("value", [math.inf, math.nan, 0.0])
def test_a_broken_layer_breaks_no_figure(compared, tmp_path, value):
    rows = [row for run in compared().runs for row in run.rows]
    broken = [replace(row, value=value) if row.layer == "conv2" and row.seed == 1 else row for row in rows]
    wide = [replace(row, value=row.value * 1000) if row.layer == "fc" and row.seed == 0 else row for row in broken]
    save_figure(spectrum_figure(compare(wide)), tmp_path / "a.png")


def test_architectures_have_panels_of_their_own(compared):
    figure = spectrum_figure(compared(models=("vgg11", "resnet8")))
    assert [axes.get_title(loc="right") for axes in figure.axes] == ["vgg11", "resnet8"]


def test_what_was_not_measured_is_not_drawn(compared, tmp_path):
    bare = compared(corruptions=(), layers=())
    assert (severity_figure(bare), corruption_figure(bare), spectrum_figure(bare)) == (None, None, None)
    assert write_plots(bare, tmp_path) == []
    assert corruption_figure(compared(corruptions=("fog",))) is None


def test_the_files_are_valid_and_the_same_bytes_each_time(compared, tmp_path):
    from PIL import Image

    written = write_plots(compared(), tmp_path / "plots")
    assert [path.name for path in written] == ["severity.png", "corruptions.png", "spectrum.png"]
    for path in written:
        with Image.open(path) as image:
            image.verify()
            assert image.width >= 600
    before = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in write_plots(compared(), tmp_path / "plots")] == before


def test_svg_by_suffix_and_no_other_kind(compared, tmp_path):
    figure = severity_figure(compared())
    save_figure(figure, tmp_path / "a.svg")
    assert "<svg" in (tmp_path / "a.svg").read_text()
    with pytest.raises(ConfigError, match=r"\.png or \.svg"):
        save_figure(figure, tmp_path / "a.bmp")
