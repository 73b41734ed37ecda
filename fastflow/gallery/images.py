"""Images from fewer measurements than pixels: digits, which are not negative, and a patch, which is nearly sparse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import fft

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE, SHARES = 16, np.array([0.2, 0.35, 0.5, 0.65, 0.8, 0.95])


def pictures(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Digits (count, 64) between 0 and 1, and cosine coefficients of 16 x 16 pixels of china.jpg (256,)."""
    try:
        from sklearn.datasets import load_digits, load_sample_image
    except ImportError:
        raise ImportError("the images are scikit-learn's: pip install 'fastflow[baselines]'") from None
    patch = load_sample_image("china.jpg")[200 : 200 + SIDE, 300 : 300 + SIDE].mean(axis=2) / 255
    return load_digits().data[:count] / 16, fft.dctn(patch, norm="ortho").ravel()


def compute(trials: int, seed: int = 0, threads: int | None = None) -> Data:
    """Errors by measurements: of digits with and without x >= 0, of the patch by depth; and least norm and l1."""
    images, patch = pictures(trials)
    rng, data = np.random.default_rng(seed), dict[str, list[NDArray[np.float64]]]()
    for share in SHARES:
        A = rng.standard_normal((trials, int(64 * share), 64)) / np.sqrt(64 * share)
        y = np.einsum("tmn,tn->tm", A, images)
        least = [ff.baselines.least_norm(*pair) for pair in zip(A, y, strict=True)]
        found = {
            "digits, x >= 0": ff.flow_limit(A, y, 1e-3, signed=False, threads=threads).x,
            "digits, signed": ff.flow_limit(A, y, 1e-3, threads=threads).x,
            "digits, least norm": np.array(least),
        }
        B = rng.standard_normal((max(6, trials // 20), int(SIDE**2 * share), SIDE**2)) / np.sqrt(SIDE**2 * share)
        z = B @ patch
        found["patch, L = 2"] = ff.flow_limit(B, z, 1e-6, threads=threads).x
        found["patch, L = 3"] = ff.flow_limit(B, z, 1e-3, 3, threads=threads).x
        found["patch, least norm"] = np.array([ff.baselines.least_norm(*pair) for pair in zip(B, z, strict=True)])
        found["patch, least l1 norm"] = np.array([ff.baselines.basis_pursuit(*pair) for pair in zip(B, z, strict=True)])
        for name, x in found.items():
            truth = images if name.startswith("digits") else patch[None]
            error = np.linalg.norm(x - truth, axis=1) / np.linalg.norm(truth, axis=1)
            data.setdefault(name, []).append(error)
    nonzeros = np.median(np.count_nonzero(images, axis=1))
    needed = np.asarray(ff.theory.l1_statistical_dimension(nonzeros, 64, nonnegative=True)) / 64
    return {name: np.array(errors) for name, errors in data.items()} | {"needed": needed}


def draw(data: Data) -> Figure:
    """Draw errors against measurements over pixels."""
    from fastflow.gallery.style import SERIES, THEORY, floored, medians, panels

    titles = {"digits": "Digits, 8 x 8 pixels >= 0", "patch": "16 x 16 pixels of china.jpg, by cosine coefficients"}
    words = "measurements / pixels", "relative l2 error, median and 95% interval"
    figure, axes = panels(*[(title, *words) for title in titles.values()])
    for kind, one in zip(titles, axes, strict=True):
        one.set(yscale="log")
        lines = [name for name in data if name.startswith(kind)]
        for place, (name, series) in enumerate(zip(lines, SERIES, strict=False)):
            values = floored(one, data[name], 1e-4)
            medians(one, SHARES + 0.008 * (place - 1), values, series, name.removeprefix(f"{kind}, "))
        if kind == "digits":
            one.axvline(float(data["needed"]), color=THEORY, linewidth=1, label="statistical dimension, x >= 0")
        one.legend(fontsize="small")
    return figure


def check(data: Data) -> Verdict:
    """Whether digits come back where theory says so, and the patch as by the least l1 norm."""
    middle = {name: np.median(errors, axis=1) for name, errors in data.items() if name != "needed"}
    digits, patch, needed = middle["digits, x >= 0"], middle["patch, L = 3"], float(data["needed"])
    after, before = digits[needed + 0.05 < SHARES].max(), digits[needed - 0.03 > SHARES].min()
    near = float(np.max(np.abs(patch / middle["patch, least l1 norm"] - 1)))
    better = bool(np.all(patch < middle["patch, least norm"]))
    nearer = SHARES[digits < middle["digits, least norm"]]
    words = (
        f"after the statistical dimension, {needed:.2f} of the pixels, errors of digits are {after:.1e} at most, "
        f"before it {before:.2f} at least, below those of least norm for m / pixels in {nearer.tolist()}; of the patch "
        f"they are within {near:.1%} of those of the least l1 norm, {'' if better else 'not '}below those of least norm"
    )
    return Verdict(bool(after < 1e-2 and before > 0.1 and near < 0.1 and better), words)


IMAGES = Entry(
    name="images",
    source="Digits and china.jpg of scikit-learn, as in Chou, Maly, Rauhut 2021 and Chou, Maly, Verdun 2022",
    claim="The flow that keeps x >= 0 finds digits from as many random measurements as the statistical dimension "
    "says, and of a picture that is nearly sparse the one of least l1 norm.",
    taken="x = w^2 for pixels that are not negative, x = u^L - v^L for cosine coefficients",
    chosen="the images, Gaussian measurements, 0.2 to 0.95 of the pixels' number; of the patch alpha = 1e-6 for L = "
    "2, else 1e-3",
    sizes={TINY: {"trials": 4}, DEFAULT: {"trials": 100}, FULL: {"trials": 1797}},
    counted="trials",
    compute=compute,
    draw=draw,
    check=check,
)
