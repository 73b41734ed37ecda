"""Data files: what is read is what was written, and what cannot be read is named by file, line and column."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastflow as ff
from fastflow.shell import tables
from fastflow.shell.arrays import Reading

RNG = np.random.default_rng(20240501)
TABLE = RNG.standard_normal((5, 4))


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@settings(max_examples=40, deadline=None)
@given(
    matrix=hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(allow_infinity=False, allow_nan=False),
    ),
    missing=st.integers(0, 2**32 - 1),
    header=st.booleans(),
)
def test_csv_gives_back_every_bit_and_every_gap(tmp_path_factory, matrix, missing, header):
    gaps = np.random.default_rng(missing).random(matrix.shape) < 0.3
    gaps[:, 0] = False  # an empty line is no row
    gaps[0, -1] = False  # and a column of which nothing is there is a trailing comma
    lines = [
        ",".join("" if gap else repr(float(x)) for x, gap in zip(*row, strict=True))
        for row in zip(matrix, gaps, strict=True)
    ]
    if header:
        lines.insert(0, ",".join(f"name {j}" for j in range(matrix.shape[1])))
    path = write(tmp_path_factory.mktemp("csv") / "m.csv", "\n".join(lines))
    read = tables.read_arrays(path).arrays["matrix"]
    assert np.array_equal(read, np.where(gaps, np.nan, matrix), equal_nan=True)


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n,4\n",
        "1,2\r\nNaN,4\r\n",
        "\ufeff1,2\n nan , 4\n",
        "\n1,2\n\n,4\n\n",
        '"1","2"\n"","4"',
        "a,b\n1,2\n,4\n",
        '"first, with a comma",\n1,2\n,4\n',
        "1e0,+2.0\n-nan,.4e1\n",
    ],
)
def test_csv_dialects(tmp_path, text):
    read = tables.read_arrays(write(tmp_path / "m.CSV", text)).arrays["matrix"]
    assert np.array_equal(read, [[1, 2], [np.nan, 4]], equal_nan=True)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1,2\n3,four\n", "line 2, column 2: 'four' is not a number"),
        ("a,b\n1,2\nx,4\n", "line 3, column 1: 'x' is not a number"),
        ("a,2\n3,4\n", "line 1, column 1: 'a' is not a number"),
        ("a,b\nc,d\n", "line 2, column 1: 'c' is not a number"),
        ("1;2\n3;4\n", "columns are separated by commas"),
        ("1 2\n3 4\n", "columns are separated by commas"),
        ("1,2\n1_000,4\n", "line 2, column 1: '1_000' is not a number"),
        ("1,2\n3,inf\n", "line 2, column 2: inf is not finite"),
        ("1,2\n3\n", "line 2 has 1 columns, line 1 2"),
        ("a,b,c\n1,2\n", "line 2 has 2 columns, line 1 3"),
        ("1," + "x" * 99 + "\n", "'" + "x" * 27 + "...' is not a number"),
        ("", "no numbers in it"),
        ("a,b\n", "no numbers in it"),
        (",0,1\n0,5,6\n1,7,8\n", "save with index=False"),
        (",a,b\n0,5,6\n1,7,8\n", "save with index=False"),
        (b"1,2\n\xff\xfe,3\n", "not a text file in UTF-8"),
        (b"\x93NUMPY\x01\x00", "not a text file in UTF-8"),
    ],
)
def test_csv_complaints(tmp_path, text, complaint):
    path = write(tmp_path / "bad.csv", text)
    with pytest.raises(ValueError, match=r"bad\.csv: ") as caught:
        tables.read_arrays(path)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("d.npy", npy(np.array([{}, 1], object), allow_pickle=True), "holds Python objects"),
        ("d.npy", npy(TABLE)[:-8], "not a whole .npy file"),
        ("d.npy", b"", "not a whole .npy file"),
        ("d.npy", b"1,2\n3,4\n", "not a whole .npy file"),
        ("d.npy", npz(a=TABLE), "not a whole .npy file"),
        ("d.npz", npy(TABLE), "not a whole .npz file"),
        ("d.npz", npz(a=TABLE)[:-30], "not a whole .npz file"),
        ("d.npz", npz(a=np.array([{}], object)), "holds Python objects"),
        ("d.txt", b"1,2", "expected a .npy, .npz or .csv file"),
        ("d", b"1,2", "expected a .npy, .npz or .csv file"),
    ],
)
def test_broken_files(tmp_path, name, content, complaint):
    with pytest.raises(ValueError, match=complaint):
        tables.read_problem(write(tmp_path / name, content))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such file"):
        tables.read_problem(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        tables.read_problem(tmp_path / "folder.csv")


@pytest.mark.parametrize(
    ("arrays", "options", "complaint"),
    [
        ({"A": TABLE, "b": TABLE}, {}, "compressed-sensing needs .*A and y; the file has A, b"),
        ({"a": TABLE, "b": TABLE}, {}, "estimation needs an array named matrix or target.* the file has a, b"),
        ({"inputs": TABLE}, {"kind": "regression"}, "regression needs .*inputs and outputs; the file has inputs"),
        ({"matrix": TABLE}, {"kind": "sensing"}, "sensing needs .*operators and values; the file has matrix"),
        ({}, {}, "the file has no arrays"),
        ({"inputs": TABLE, "outputs": TABLE[:4]}, {"samples": "rows"}, "one row a sample, got 5 and 4 rows .*columns"),
        ({"inputs": TABLE, "outputs": TABLE[:3, :2]}, {}, "one row, or one column, a sample"),
        (
            {"inputs": TABLE, "outputs": TABLE},
            {},
            "both axes of a 5 x 4 table could be samples: say --samples rows",
        ),
        ({"matrix": TABLE}, {"kind": "autoencoder"}, "both axes of a 5 x 4 table could be samples: say --samples rows"),
        ({"inputs": TABLE, "outputs": TABLE[:, :3]}, {"samples": "columns"}, "one column a sample"),
        ({"operators": TABLE, "values": TABLE[0]}, {}, "operators must have 3 dimension"),
        ({"operators": TABLE[:, :, None], "values": TABLE[0]}, {}, "one entry for each of the 5 rows of operators"),
        ({"matrix": TABLE[0]}, {}, r"must have 2 dimension\(s\), got shape \(4,\)"),
        ({"matrix": TABLE[:0]}, {}, "the matrix is empty"),
        ({"matrix": TABLE + 1j}, {}, "real numbers, got dtype complex128"),
        ({"matrix": np.array([["a"]])}, {}, "real numbers, got dtype <U1"),
        ({"matrix": TABLE * np.nan}, {}, "no entry is observed"),
        (
            {"matrix": TABLE * np.nan},
            {"kind": "autoencoder", "samples": "rows"},
            "20 of 20 entries are missing, the first in row 1, col",
        ),
        ({"matrix": TABLE * np.inf}, {}, "must be finite, got -?inf"),
        ({"matrix": TABLE, "truth": TABLE.T}, {}, r"truth must have the shape \(5, 4\)"),
        (
            {"matrix": TABLE},
            {"samples": "rows"},
            "only autoencoder and regression have samples, and this is estimation",
        ),
        ({"matrix": TABLE}, {"samples": "lines", "kind": "autoencoder"}, "samples must be one of 'rows', 'columns'"),
        ({"matrix": TABLE}, {"kind": "magic"}, "problem must be one of 'estimation', .* got 'magic'"),
        ({"matrix": TABLE}, {"hide": 0.5, "kind": "autoencoder"}, "only entries of a matrix can be hidden"),
        ({"matrix": TABLE}, {"hide": 0.0}, "the fraction to hide must be greater than 0"),
        ({"matrix": TABLE}, {"hide": 1.0}, "the fraction to hide must be less than 1"),
        ({"matrix": TABLE}, {"hide": 0.01}, "hiding 0 of 20 entries"),
        ({"matrix": TABLE}, {"hide": 0.99}, "hiding 20 of 20 entries"),
        ({"shape": [2, 2], "rows": [0, 2], "cols": [0, 1], "values": [1.0, 2.0]}, {}, "rows must be in 0 .. 1, got 2"),
        ({"shape": [2, 2], "rows": [0, 0], "cols": [1, 1], "values": [1.0, 2.0]}, {}, "is observed 2 times"),
    ],
)
def test_files_that_do_not_hold_the_problem(tmp_path, arrays, options, complaint):
    with pytest.raises((ValueError, TypeError), match=complaint) as caught:
        tables.read_problem(write(tmp_path / "d.npz", npz(**arrays)), **options)
    assert "\n" not in str(caught.value)


W = RNG.standard_normal((3, 4))
INPUTS, OUTPUTS = RNG.standard_normal((9, 4)), RNG.standard_normal((9, 3))
TARGET = RNG.standard_normal((3, 4))
GAPPY = np.where(RNG.random((3, 4)) < 0.4, np.nan, TARGET)
OPERATORS, VALUES = RNG.standard_normal((6, 3, 4)), RNG.standard_normal(6)
SEEN = np.argwhere(~np.isnan(GAPPY)).T
REGRESSION_LOSS = 0.5 * np.sum((INPUTS @ W.T - OUTPUTS) ** 2)


@pytest.mark.parametrize(
    ("arrays", "options", "kind", "loss"),
    [
        ({"matrix": TARGET}, {}, "estimation", 0.5 * np.sum((W - TARGET) ** 2)),
        ({"target": TARGET}, {}, "estimation", 0.5 * np.sum((W - TARGET) ** 2)),
        ({"any": TARGET, "truth": W}, {}, "estimation", 0.5 * np.sum((W - TARGET) ** 2)),
        ({"any": TARGET}, {"normalization": "mean"}, "estimation", np.mean((W - TARGET) ** 2)),
        ({"any": TARGET}, {"kind": "completion"}, "completion", 0.5 * np.sum((W - TARGET) ** 2)),
        ({"any": GAPPY}, {}, "completion", 0.5 * np.nansum((W - GAPPY) ** 2)),
        (
            {"shape": [3, 4], "rows": SEEN[0], "cols": SEEN[1], "values": TARGET[tuple(SEEN)]},
            {},
            "completion",
            0.5 * np.nansum((W - GAPPY) ** 2),
        ),
        ({"inputs": INPUTS, "outputs": OUTPUTS}, {}, "regression", REGRESSION_LOSS),
        ({"inputs": INPUTS.T, "outputs": OUTPUTS.T}, {"samples": "columns"}, "regression", REGRESSION_LOSS),
        (
            {"operators": OPERATORS, "values": VALUES},
            {},
            "sensing",
            0.5 * np.sum((np.einsum("ijk,jk->i", OPERATORS, W) - VALUES) ** 2),
        ),
    ],
)
def test_the_problem_has_the_loss_of_its_data(tmp_path, arrays, options, kind, loss):
    data = tables.read_problem(write(tmp_path / "d.npz", npz(**arrays)), **options)
    assert data.kind == kind
    assert data.problem.shape == W.shape
    assert data.problem.loss(W) == pytest.approx(loss, rel=1e-13)
    assert data.hidden is None


@pytest.mark.parametrize("samples", ["rows", "columns"])
def test_autoencoder_and_single_output(tmp_path, samples):
    """Tables have samples in rows unless they say columns; a vector of outputs is one output."""
    turn = np.transpose if samples == "columns" else np.asarray
    square = RNG.standard_normal((4, 4))
    path = write(tmp_path / "x.npy", npy(turn(INPUTS)))
    loss = tables.read_problem(path, "autoencoder", samples=samples).problem.loss(square)
    assert loss == pytest.approx(0.5 * np.sum((INPUTS @ square.T - INPUTS) ** 2), rel=1e-13)
    path = write(tmp_path / "r.npz", npz(inputs=turn(INPUTS), outputs=OUTPUTS[:, 0]))
    loss = tables.read_problem(path, samples=samples).problem.loss(W[:1])
    assert loss == pytest.approx(0.5 * np.sum((INPUTS @ W[0] - OUTPUTS[:, 0]) ** 2), rel=1e-13)


def test_what_was_decided_is_said(tmp_path):
    gappy = write(tmp_path / "g.npy", npy(GAPPY))
    missing = int(np.isnan(GAPPY).sum())
    assert tables.read_problem(gappy).notes == (f"{missing} of 12 entries are missing, so this is completion",)
    assert tables.read_problem(gappy, "completion").notes == (f"{missing} of 12 entries are missing",)
    assert tables.read_problem(write(tmp_path / "t.npy", npy(TARGET))).notes == ()


def test_truth_from_a_file_or_from_the_whole_matrix(tmp_path):
    whole, gappy = write(tmp_path / "t.npy", npy(TARGET)), write(tmp_path / "g.npy", npy(GAPPY))
    assert tables.read_problem(whole).problem.truth is None  # the error would be the loss over again
    assert np.array_equal(tables.read_problem(whole, hide=0.5).problem.truth, TARGET)
    assert tables.read_problem(gappy).problem.truth is None
    assert np.array_equal(tables.read_problem(gappy, truth=whole).problem.truth, TARGET)
    named = write(tmp_path / "t.csv", "a,b,c,d\n" + "\n".join(",".join(map(repr, row)) for row in TARGET.tolist()))
    data = tables.read_problem(whole, truth=named)
    assert np.array_equal(data.problem.truth, TARGET)
    assert data.notes == ("truth: the first line names the columns: 'a', 'b', 'c', 'd'",)
    with pytest.raises(ValueError, match=r"g\.npy: truth: .* entries are missing"):
        tables.read_problem(whole, truth=gappy)
    with pytest.raises(FileNotFoundError, match=r"no\.npy: no such file"):
        tables.read_problem(whole, truth=tmp_path / "no.npy")


def entries(problem):
    return dict(zip(zip(problem.rows.tolist(), problem.cols.tolist(), strict=True), problem.values, strict=True))


@pytest.mark.parametrize("seed", [0, 1])
def test_hidden_and_kept_entries_split_the_observed_ones(seed):
    observed = ff.MatrixCompletion.from_dense(
        np.where(RNG.random((13, 7)) < 0.3, np.nan, RNG.standard_normal((13, 7))), normalization="mean"
    )
    before: set[tuple[int, int]] = set()
    for fraction in (0.1, 0.3, 0.8):
        kept, hidden = tables.hide_entries(observed, fraction, seed)
        assert len(hidden.values) == round(fraction * len(observed.values))
        assert entries(kept) | entries(hidden) == entries(observed)
        assert not entries(kept).keys() & entries(hidden).keys()
        assert kept.normalization == "mean"
        assert before < entries(hidden).keys()  # a larger fraction hides the same and more
        before = set(entries(hidden))
    again = tables.hide_entries(observed, 0.8, seed)[1]
    assert set(entries(again)) == before
    assert set(entries(tables.hide_entries(observed, 0.8, seed + 1)[1])) != before


def test_hiding_through_the_reader(tmp_path):
    path = write(tmp_path / "t.npy", npy(TABLE))
    data = tables.read_problem(path, hide=0.25, seed=3)
    assert data.kind == "completion"
    assert data.notes == ("5 of 20 entries are hidden (seed 3)",)
    assert len(data.problem.values) == 15
    assert data.hidden is not None
    assert all(TABLE[place] == value for place, value in entries(data.hidden).items())


# What can be read in two ways


def read(tmp_path, text, **reading):
    return tables.read_arrays(write(tmp_path / "t.csv", text), Reading(**reading))


@pytest.mark.parametrize(
    ("text", "reading", "expected", "note"),
    [
        # Rows that used to be lost as headers
        ("n/a,n/a\n1,2\n", {}, [[np.nan, np.nan], [1, 2]], "2 cells such as 'n/a' are missing entries"),
        ("NA,NaN\nnull,2\n", {}, [[np.nan, np.nan], [np.nan, 2]], "2 cells such as 'NA' are missing entries"),
        ('"1,000","2,500"\n3,4\n', {"comma": "thousands"}, [[1000, 2500], [3, 4]], ""),
        ('"-1,234,567.5",2\n3,4\n', {"comma": "thousands"}, [[-1234567.5, 2], [3, 4]], ""),
        ('"1,000","2,5"\n3,4\n', {"comma": "decimal"}, [[1, 2.5], [3, 4]], ""),
        ("0,1\n0.5,2.0\n", {"header": "no"}, [[0, 1], [0.5, 2]], ""),
        ("0,1\n0.5,2.0\n", {"header": "yes"}, [[0.5, 2]], "the first line names the columns: '0', '1'"),
        ("0,1\n1,0\n", {}, [[0, 1], [1, 0]], ""),
        ("a,b\n1,2\n", {}, [[1, 2]], "the first line names the columns: 'a', 'b'"),
        # Row numbers
        (
            '"","V1"\n"1",5\n"2",6\n',
            {"row_numbers": "drop"},
            [[5], [6]],
            "the first column, of row numbers, is left out",
        ),
        (
            '"","V1"\n"1",5\n"2",6\n',
            {"row_numbers": "keep"},
            [[1, 5], [2, 6]],
            "the first line names the columns: '', 'V1'",
        ),
        (
            ",0,1\n0,5,6\n1,7,8\n",
            {"row_numbers": "drop"},
            [[5, 6], [7, 8]],
            "the first column, of row numbers, is left out",
        ),
        ("1,5\n2,6\n3,8\n", {"row_numbers": "keep"}, [[1, 5], [2, 6], [3, 8]], ""),
        ("1,5\n2,6\n", {}, [[1, 5], [2, 6]], ""),
        ("1.0,5\n2.0,6\n3.0,8\n", {}, [[1, 5], [2, 6], [3, 8]], ""),
        # Trailing commas
        ("1,2,\n3,4,\n", {}, [[1, 2], [3, 4]], "every line ends in a comma, after which no column is read"),
        ("a,b,\n1,2,\n", {}, [[1, 2]], "every line ends in a comma, after which no column is read"),
        ("1,2,NA\n3,4,NA\n", {}, [[1, 2, np.nan], [3, 4, np.nan]], "2 cells such as 'NA' are missing entries"),
        ("a,b,c\n1,2,\n", {}, [[1, 2, np.nan]], "the first line names the columns: 'a', 'b', 'c'"),
    ],
)
def test_what_is_guessed_is_said(tmp_path, text, reading, expected, note):
    contents = read(tmp_path, text, **reading)
    np.testing.assert_array_equal(contents.arrays["matrix"], expected)
    assert any(said.startswith(note) for said in contents.notes) if note else contents.notes == ()


@pytest.mark.parametrize(
    ("text", "reading", "complaint"),
    [
        ('"1,000",2\n3,4\n', {}, "line 1, column 1: '1,000' has a comma: say --comma thousands, or --comma decimal"),
        ('3,4\n1,"2,5"\n', {}, "line 2, column 2: '2,5' has a comma"),
        ('"1,5",2\n3,4\n', {"comma": "thousands"}, "line 1, column 1: '1,5' is not a number"),
        ('"1,000,000",2\n', {"comma": "decimal"}, "'1,000,000' is not a number"),
        ('"1,5",1.000\n', {"comma": "decimal"}, "'1.000' is not a number with a decimal comma"),
        ("0,1,2\n1,2,3\n", {}, "the first line counts from 0 to 2, as pandas names columns: say --header yes"),
        ("0,1\n1.5,2.5\n", {}, "the first line counts from 0 to 1"),
        ('"","V1"\n"1",5\n"2",6\n', {}, "row.names=FALSE (R), or say --row-numbers drop, or --row-numbers keep"),
        ("1,5\n2,6\n3,8\n", {}, "the first column looks like row numbers"),
        ("0,5\n1,6\n2,8\n", {}, "the first column looks like row numbers"),
        ("id,a\n1,5\n2,6\n3,8\n", {}, "the first column looks like row numbers"),
        ("1\n2\n", {"row_numbers": "drop"}, "leaves no column"),
        ("?,?\n1,2\n", {}, "line 1, column 1: '?' is not a number"),
        ("5%,6%\n1,2\n", {}, "line 1, column 1: '5%' is not a number"),
        ("a,b\n1,2\n", {"header": "no"}, "line 1, column 1: 'a' is not a number"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(tmp_path, text, reading, complaint):
    with pytest.raises(ValueError, match=r"t\.csv: ") as caught:
        read(tmp_path, text, **reading)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


TRIPLETS = "{}0,0,1.5\n0,1,2.5\n2,1,3.5\n"


def test_triplets(tmp_path):
    path = write(tmp_path / "t.csv", TRIPLETS.format(""))
    with pytest.raises(
        ValueError, match="could be row, column and value of an entry: say --layout triplets, or --layout"
    ):
        tables.read_problem(path)
    matrix = tables.read_problem(path, reading=Reading(layout="matrix"))
    np.testing.assert_array_equal(matrix.problem.target, [[0, 0, 1.5], [0, 1, 2.5], [2, 1, 3.5]])
    assert tables.read_problem(path, "estimation").kind == "estimation"
    with pytest.warns(UserWarning, match="nothing is observed of row 1"):
        data = tables.read_problem(path, reading=Reading(layout="triplets"))
    assert data.notes == ("triplets: 3 entries of a 3 x 2 matrix, rows and columns counted from 0",)
    assert entries(data.problem) == {(0, 0): 1.5, (0, 1): 2.5, (2, 1): 3.5}


def test_triplets_that_their_names_tell(tmp_path):
    """Counted from 1, and as large as the truth is."""
    path = write(tmp_path / "t.csv", "Row,Column,Value\n1,1,1.5\n1,2,2.5\n2,1,3.5\n")
    data = tables.read_problem(path)
    assert data.notes[0] == "triplets: 3 entries of a 2 x 2 matrix, rows and columns counted from 1"
    assert entries(data.problem) == {(0, 0): 1.5, (0, 1): 2.5, (1, 0): 3.5}
    truth = write(tmp_path / "truth.npy", npy(np.ones((2, 3))))
    with pytest.warns(UserWarning, match="nothing is observed of column 2"):
        assert tables.read_problem(path, truth=truth).problem.shape == (2, 3)
    for table, complaint in [("0.5,1,2\n", "whole numbers"), ("-1,1,2\n", "whole numbers"), ("1,2\n", "got 2 columns")]:
        with pytest.raises(ValueError, match=complaint):
            tables.read_problem(write(tmp_path / "t.csv", table), reading=Reading(layout="triplets"))


def test_a_mask_beside_the_matrix(tmp_path):
    hidden = np.zeros(TABLE.shape, bool)
    hidden[[0, 3], [1, 2]] = True
    seen = {tuple(map(int, at)): TABLE[tuple(at)] for at in np.argwhere(~hidden)}
    data = tables.read_problem(write(tmp_path / "d.npz", npz(matrix=TABLE, mask=hidden)))
    assert entries(data.problem) == seen
    assert data.notes == (
        "the arrays matrix, mask make this estimation",
        "2 of 20 entries are missing, so this is completion",
        "mask: entries that are missing are true, as numpy.ma has it (else --mask observed)",
    )
    observed = write(tmp_path / "o.npz", npz(matrix=TABLE, mask=(~hidden).astype(int)))
    with pytest.raises(ValueError, match=r"mask has dtype int64, .*say --mask observed, or --mask missing"):
        tables.read_problem(observed)
    assert entries(tables.read_problem(observed, reading=Reading(mask="observed")).problem) == seen
    for arrays, complaint in [
        ({"matrix": TABLE, "mask": hidden[:4]}, "mask must have the shape"),
        ({"matrix": TABLE, "mask": 2 * hidden}, "mask must have entries True and False"),
        ({"inputs": TABLE, "outputs": TABLE, "mask": hidden}, "a mask is for the entries of a matrix, and this is reg"),
    ]:
        with pytest.raises(ValueError, match=complaint):
            tables.read_problem(write(tmp_path / "d.npz", npz(**arrays)), reading=Reading(mask="missing"))


def test_arrays_that_are_not_used_are_named(tmp_path):
    path = write(tmp_path / "d.npz", npz(matrix=TABLE, weights=TABLE, other=TABLE))
    assert tables.read_problem(path).notes[1] == "not used: other, weights"


@pytest.mark.parametrize("outputs", [OUTPUTS, OUTPUTS[:, 0]], ids=["matrix", "vector"])
def test_samples_lie_as_the_shapes_allow(tmp_path, outputs):
    """What only fits in one way is taken, and said; the first width decides where both would."""
    for turned, samples in ((np.asarray, "rows"), (np.transpose, "columns")):
        path = write(tmp_path / "r.npz", npz(inputs=turned(INPUTS), outputs=turned(outputs)))
        data = tables.read_problem(path)
        assert data.notes[1] == f"samples are the 9 {samples}, since only their numbers agree"
        product = np.atleast_2d(W[: 1 if outputs.ndim == 1 else 3])
        expected = 0.5 * np.sum((INPUTS @ product.T - outputs.reshape(9, -1)) ** 2)
        assert data.problem.loss(product) == pytest.approx(expected, rel=1e-13)
        path = write(tmp_path / "x.npy", npy(turned(INPUTS)))
        data = tables.read_problem(path, "autoencoder", widths=(4, 2, 4))
        assert data.notes == (f"samples are the 9 {samples}, since the first width is 4",)
        assert data.problem.shape == (4, 4)
