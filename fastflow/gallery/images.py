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
    return {name: np.array(errors) for name, errors in data.items()}


def draw(data: Data) -> Figure:
    """Draw errors against measurements over pixels."""
    from fastflow.gallery.style import SERIES, floored, medians, panels

    titles = {"digits": "Digits, 8 x 8 pixels >= 0", "patch": "16 x 16 pixels of china.jpg, by cosine coefficients"}
    words = "measurements / pixels", "relative l2 error, median and 95% interval"
    figure, axes = panels(*[(title, *words) for title in titles.values()])
    for kind, one in zip(titles, axes, strict=True):
        one.set(yscale="log")
        lines = [name for name in data if name.startswith(kind)]
        for place, (name, series) in enumerate(zip(lines, SERIES, strict=False)):
            values = floored(one, data[name], 1e-4)
            medians(one, SHARES + 0.008 * (place - 1), values, series, name.removeprefix(f"{kind}, "))
        one.legend(fontsize="small")
    return figure


def check(data: Data) -> Verdict:
    """Compare the flow with least norm, and on the patch with the least l1 norm."""
    middle = {name: np.median(errors, axis=1) for name, errors in data.items()}
    digits, patch = middle["digits, x >= 0"] < middle["digits, least norm"], middle["patch, L = 3"]
    near = float(np.max(np.abs(patch / middle["patch, least l1 norm"] - 1)))
    better = bool(np.all(digits) and np.all(patch < middle["patch, least norm"]))
    exact = SHARES[middle["digits, x >= 0"] < 1e-2]
    words = (
        f"the flow is {'' if better else 'not '}nearer than least norm at every number of measurements; digits come "
        f"back to 1% from {exact.min() if exact.size else np.inf:g} of their pixels on; of the patch errors are "
        f"within {near:.1%} of those of the least l1 norm"
    )
    return Verdict(bool(better and exact.size and near < 0.1), words)


IMAGES = Entry(
    name="images",
    source="Digits and china.jpg of scikit-learn, as in Chou, Maly, Rauhut 2021 and Chou, Maly, Verdun 2022",
    claim="Flows of diagonal networks make more of few random measurements of an image than least squares does: they "
    "keep x >= 0, or find the picture of least l1 norm.",
    taken="x = w^2 for pixels that are not negative, x = u^L - v^L for cosine coefficients",
    chosen="the images, Gaussian measurements, 0.2 to 0.95 of the pixels' number; of the patch alpha = 1e-6 for L = "
    "2, else 1e-3",
    sizes={TINY: {"trials": 4}, DEFAULT: {"trials": 100}, FULL: {"trials": 1797}},
    counted="trials",
    compute=compute,
    draw=draw,
    check=check,
)
