"""What moves along with the axes of a study: cells are those of their values, whichever axes led there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import fastflow as ff
from fastflow.ensembles import Sparse
from fastflow.studies.errors import StoreError
from fastflow.studies.outcomes import FIELDS

SPARSE = Sparse(n=24, sparsity=3)
PURSUIT = ff.baselines.BasisPursuit()
BITS = tuple(name for name in FIELDS if name != "seconds")


def fourfold(m):
    return 4 * m


def both(sparsity, n):
    return sparsity * n // 8


def failing(m):
    return 1 / (m - 8)


def study(axes, **options):
    return ff.Study(options.pop("ensemble", SPARSE), method=PURSUIT, axes=axes, trials=3, **options)


def run(axes, **options):
    return study(axes, **options).run(threads=1, progress=False)


def same_cell(first, second):
    return all(np.array_equal(first.outcomes[name], second.outcomes[name], equal_nan=True) for name in BITS)


@pytest.fixture(scope="module")
def moving():
    """Measurements and lengths together, by sparsity."""
    return run({**ff.together(m=[6, 10], n=[12, 20]), "sparsity": [1, 2]})


def test_a_cell_is_that_of_its_values_whichever_axes_led_there(moving):
    assert moving.axes == {"m": (6, 10), "sparsity": (1, 2)}
    for i, (m, n) in enumerate([(6, 12), (10, 20)]):
        one = run({"sparsity": [1, 2]}, ensemble=dataclasses.replace(SPARSE, m=m, n=n))
        part = moving[{"m": m}]
        assert same_cell(part, one)
        assert part.table["ensemble"] == one.table["ensemble"]
        assert part.setting["n"] == n
        assert "following" not in part.table
        by_length = run({**ff.together(n=[12, 20], m=[6, 10])}).sel(n=[n]) if i else None
        if by_length is not None:
            whole = run(ff.together(m=[6, 10], n=[12, 20]))
            assert np.array_equal(by_length.outcomes["error"][0], whole.outcomes["error"][1])


def test_functions_name_the_axes_that_they_follow():
    one = study({"m": [3, 5], "n": fourfold})
    assert one == study(ff.together(m=[3, 5], n=[12, 20])) == study(ff.together(m=[3, 5], n=fourfold))
    two = study({"sparsity": [1, 2], "n": [16, 24], "m": both})
    assert two.describe()["following"] == {"m": {"of": ["sparsity", "n"], "values": [2, 3, 4, 6]}}
    assert two.setup(3).ensemble == dataclasses.replace(SPARSE, sparsity=2, n=24, m=6)
    assert two.where(1) == "sparsity = 1, n = 24, m = 3"
    assert ff.Study.from_table(two.describe()) == two


def test_fields_of_one_word_may_follow_axes_of_another():
    """A step size that belongs to a scale; a baseline, which has no start, still has one cell for all scales."""
    axes = {"method": {"descent": ff.GradientDescent(max_steps=3)}, "m": [8, 12]}
    axes |= ff.together({"init.scale": [1e-2, 1e-3], "method.step": [0.1, 0.2]})
    made = ff.Study(SPARSE, ff.DiagonalLinear(), ff.inits.Constant(), axes=axes, trials=2)
    assert [made.setup(cell).method.step for cell in range(4)] == [0.1, 0.2] * 2
    assert [made.setup(cell).init.scale for cell in range(4)] == [1e-2, 1e-3] * 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: study({"m": [4, 8], "n": lambda m: 4 * m}), "never are.*Name it"),
        (lambda: study({"m": [4, 8], "n": both}), "the parameter 'sparsity' of its function must name one axis"),
        (lambda: study({"m": [4, 8], "n": failing}), "its function raised at m = 8: ZeroDivisionError"),
        (lambda: study({"n": fourfold}), "axes must be a dict of one to four axes"),
        (lambda: study({"m": [4], "ensemble.m": [3]}), "'m' and 'ensemble.m' are the same axis"),
        (lambda: study({**ff.together(m=[4, 8], n=[12, 16]), "ensemble.n": [3]}), "are the same axis"),
        (lambda: ff.together(m=[4]), "together needs two or more axes"),
        (lambda: ff.together(m=[4, 8], n=[12]), "'m' has 2 values and 'n' has 1"),
        (lambda: ff.together(m=4, n=[12]), "'m' must be a sequence"),
        (lambda: study(ff.together(m=[4, 8], noise=["a", "b"])), "noise"),
        (lambda: study(ff.together(m=[4, 8], depth=[1, 2])), "depth"),
        (lambda: study(ff.together(m=[4, 8], n=[12, 16]), problem="shared"), "no axis can be one of the ensemble"),
    ],
)
def test_what_cannot_move_along_is_said(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_tables_name_values_or_functions():
    table = study(ff.together(m=[3, 5], n=[12, 20])).describe()
    plain = {name: value for name, value in table.items() if name != "following"}
    for along in ({"of": "m", "values": [12, 20]}, {"function": f"{__name__}:fourfold"}):
        assert ff.Study.from_table({**plain, "axes": {"m": [3, 5], "n": along}}).describe() == table
    with pytest.raises(ValueError, match="trust=True"):
        ff.Study.from_table({**plain, "axes": {"m": [3, 5], "n": {"function": "os:getpid"}}})
    with pytest.raises(ValueError, match="has of, their names, and values"):
        ff.Study.from_table({**plain, "axes": {"m": [3, 5], "n": {"of": "m"}}})
    with pytest.raises(ValueError, match="for each of 2 m, got 1 values"):
        ff.Study.from_table({**plain, "axes": {"m": [3, 5], "n": {"of": "m", "values": [1]}}})


def test_stores_grow_and_merge_by_what_moves_along(tmp_path):
    small, large = ff.together(m=[6, 10], n=[12, 20]), ff.together(m=[6, 8, 10], n=[12, 16, 20])
    study(small).run(store=tmp_path / "a", threads=1, progress=False)
    grown = study(large).run(store=tmp_path / "a", threads=1, progress=False)
    assert grown.computed == 3
    assert same_cell(grown, run(large))
    assert same_cell(ff.open_study(tmp_path / "a"), grown)
    study(ff.together(m=[8], n=[16])).run(store=tmp_path / "b", threads=1, progress=False)
    study(small).run(store=tmp_path / "c", threads=1, progress=False)
    merged = ff.merge([tmp_path / "c", tmp_path / "b"])
    assert merged.table["following"] == grown.table["following"]
    assert same_cell(merged, grown)
    with pytest.raises(StoreError, match=r"n at m = 8 is 16 there and 17 here"):
        study(ff.together(m=[6, 8, 10], n=[12, 17, 20])).run(store=tmp_path / "a", threads=1, progress=False)
    with pytest.raises(StoreError, match=r"what follows the axes is n there and nothing here"):
        study({"m": [6, 8, 10]}).run(store=tmp_path / "a", threads=1, progress=False)


def test_tables_of_results_have_what_moves_along(moving):
    data = moving.to_xarray()
    assert data["n"].dims == ("m",)
    assert data["n"].values.tolist() == [12, 20]
    frame = moving.to_dataframe()
    assert set(zip(frame["m"], frame["n"], strict=True)) == {(6, 12), (10, 20)}
    assert moving.theory() is None  # m alone, for one n, says nothing here


def test_a_width_is_a_number():
    assert ff.DeepLinear(depth=3, width=7).widths_for((4, 5)) == (5, 7, 7, 4)
    ensemble = ff.ensembles.LowRank(n=6, m=20, rank=1)
    made = ff.Study(ensemble, ff.DeepLinear(depth=2), axes={"width": [2, 4], "m": [20, 30]}, trials=1)
    assert [made.setup(cell).network.width for cell in range(4)] == [2, 2, 4, 4]
    for wrong in ({"depth": 1}, {"widths": (3, 3)}):
        with pytest.raises(ValueError, match="width"):
            ff.DeepLinear(**wrong, width=3)


def test_plain_xarray_reads_a_store_with_its_coordinates_and_units(tmp_path, moving):
    xarray = pytest.importorskip("xarray")
    moving.save(tmp_path / "whole")
    data = xarray.open_zarr(tmp_path / "whole")
    assert data["error"].dims == ("m", "sparsity", "trial")
    assert set(data.coords) == {"m", "sparsity", "n"}
    assert data["n"].values.tolist() == [12, 20]
    assert data["error"].sel(m=10, sparsity=2).values.tolist() == moving.outcomes["error"][1, 1].tolist()
    assert data["seconds"].attrs["units"] == "s"
    assert data["error"].attrs["long_name"].startswith("relative error")
    assert "not_done" in data["status"].attrs["flag_meanings"]
    axes = {**ff.together(m=[6, 10], n=[12, 20]), "sparsity": [1, 2]}
    study(axes).run(store=tmp_path / "share", threads=1, progress=False, shard=(0, 2))
    share = xarray.open_zarr(tmp_path / "share")
    assert share["error"].dims == ("cell", "trial")
    assert {"m", "n", "sparsity", "cell"} <= set(share.coords)
    assert set(zip(share["m"].values, share["n"].values, strict=True)) <= {(6, 12), (10, 20)}
