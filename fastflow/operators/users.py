"""What users have: sparse matrices, and objects with products of their own."""

from __future__ import annotations

import warnings
from typing import Protocol, runtime_checkable

import numpy as np

from fastflow.arrays import AnyArray
from fastflow.checks import FloatArray, shown
from fastflow.operators.base import Operator
from fastflow.operators.sparse import Sparse, SparseMatrix
from fastflow.streams import stream


@runtime_checkable
class Products(Protocol):
    """Operators of SciPy (``scipy.sparse.linalg``), PyLops, and what follows their interface."""

    @property
    def shape(self) -> tuple[int, int]:
        """Measurements and unknowns."""

    def matvec(self, x: AnyArray, /) -> AnyArray:
        """``A x``."""

    def rmatvec(self, x: AnyArray, /) -> AnyArray:
        """``A^H r``."""


@runtime_checkable
class ManyProducts(Products, Protocol):
    """Those that multiply several vectors at once."""

    def matmat(self, x: AnyArray, /) -> AnyArray:
        """``A X``."""

    def rmatmat(self, x: AnyArray, /) -> AnyArray:
        """``A^H R``."""


def is_operator(value: object) -> bool:
    """Whether `as_operator` takes it, and does not leave it to NumPy."""
    return isinstance(value, Operator | Products | Sparse) and not isinstance(value, type)


def as_operator(value: object, *, together: bool = False) -> Operator:
    """A measurement matrix by its products, which are tried before they are trusted.

    Parameters
    ----------
    value : an `Operator`, a sparse matrix or array of SciPy, or any object with ``shape``, ``matvec`` and ``rmatvec``
        Of an object ``matvec`` is asked for ``A x`` of a real x (n,), and ``rmatvec`` for ``A^H r``, r (m,) being
        complex where ``A x`` was.
    together : bool
        Whether products of all runs at once are asked for (``matmat`` and ``rmatmat``), as n x k arrays. It is for an
        object that gives a column the same bits whatever stands beside it, or where last bits do not matter.

    Returns
    -------
    Operator

    Raises
    ------
    TypeError, ValueError
        for what is no operator, and for products of another shape, or that are not finite

    Warns
    -----
    UserWarning
        where ``rmatvec`` is not the adjoint of ``matvec``: gradients would be wrong

    Examples
    --------
    >>> import numpy as np, fastflow as ff
    >>> from scipy.sparse.linalg import aslinearoperator
    >>> A = ff.operators.as_operator(aslinearoperator(np.array([[1.0, 2.0]])))
    >>> A.shape, A @ [1.0, 1.0]
    ((1, 2), array([3.]))
    """
    return adapted(value, together, stacklevel=2)


def adapted(value: object, together: bool = False, stacklevel: int = 1) -> Operator:
    """`as_operator`, with the ``stacklevel`` of a warning, from the caller of this function."""
    if isinstance(value, Operator):
        return value
    if isinstance(value, type) or not isinstance(value, Products | Sparse):
        raise TypeError(
            f"an operator is a sparse matrix of SciPy, or has shape, matvec and rmatvec; got {shown(value)}"
        )
    return UsersOperator(value, together, stacklevel + 1) if isinstance(value, Products) else SparseMatrix(value)


ALIKE = 0.5
"""The power of the precision up to which two inner products that should be equal may differ."""


class UsersOperator(Operator):
    """An object with products of its own.

    Parameters
    ----------
    products : Products
    together : bool, whether to ask for products of several vectors at once
    stacklevel : int, of a warning, from the caller

    Raises
    ------
    TypeError, ValueError
        where its products are not what they should be
    """

    def __init__(self, products: Products, together: bool = False, stacklevel: int = 1) -> None:
        self.products, self.together = products, together
        try:
            m, n = (int(length) for length in products.shape)
        except (TypeError, ValueError):
            raise TypeError(f"{self.name}.shape must be (m, n), got {shown(products.shape)}") from None
        if min(m, n) < 1:
            raise ValueError(f"{self.name}.shape must be at least (1, 1), got {(m, n)}")
        if together and not isinstance(products, ManyProducts):
            raise TypeError(f"{self.name} has no matmat and rmatmat, which together=True needs")
        self.shape, self.is_complex = (m, n), False
        self._probe(stacklevel + 2)

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return type(self.products).__name__

    def _probe(self, stacklevel: int) -> None:
        """Look at products with random vectors: shapes, whether complex, whether one is the adjoint of the other."""
        m, n = self.shape
        random = stream("probe", m, n)
        x, residual = random.standard_normal(n), random.standard_normal(2 * m)
        image = self._checked("matvec", np.asarray(self.products.matvec(x.copy())), m)
        self.is_complex = image.dtype.kind == "c"
        measured = self.forward(x[None])[0]
        residual = residual[: self.rows]
        back = self.adjoint(residual[None].copy())[0]
        for name, made in (("matvec", measured), ("rmatvec", back)):
            if not np.isfinite(made).all():
                raise ValueError(f"{name} of {self.name} gave numbers that are not finite for a vector of finite ones")
        first, second = float(measured @ residual), float(x @ back)
        size = max(
            float(np.linalg.norm(measured) * np.linalg.norm(residual)), float(np.linalg.norm(x) * np.linalg.norm(back))
        )
        precision = np.finfo(image.dtype if image.dtype.kind in "fc" else np.float64).eps ** ALIKE
        if abs(first - second) > precision * size:
            warnings.warn(
                f"rmatvec of {self.name} is not the adjoint of its matvec: for random x and r <A x, r> = {first:.6g}, "
                f"and <x, A^H r> = {second:.6g}; gradients would be wrong",
                stacklevel=stacklevel,
            )

    def _checked(self, name: str, made: AnyArray, *shape: int) -> AnyArray:
        """What a product gave, of the shape that it must have; a vector may come as one column."""
        if made.shape != shape and not (made.size == made.shape[0] == shape[0] and len(shape) == 1):
            raise ValueError(f"{name} of {self.name} gave an array of shape {made.shape}, expected {shape}")
        if made.dtype.kind not in "fciub":
            raise TypeError(f"{name} of {self.name} gave an array of dtype {made.dtype}, expected numbers")
        return made.reshape(shape)

    def _images(self, name: str, stack: AnyArray, length: int) -> AnyArray:
        """The products of a stack (k, ...) by ``matvec`` or ``rmatvec``, (k, length): all at once, or one by one."""
        if self.together and isinstance(self.products, ManyProducts):
            many = name.replace("vec", "mat")
            whole = np.asarray(getattr(self.products, many)(np.ascontiguousarray(stack.T)))
            return self._checked(many, whole, length, len(stack)).T
        product = getattr(self.products, name)
        images = [self._checked(name, np.asarray(product(one.copy())), length) for one in stack]
        return np.array(images).reshape(len(stack), length)

    def forward(self, vectors: FloatArray) -> FloatArray:
        m = self.shape[0]
        measured = np.empty((len(vectors), self.rows), vectors.dtype)
        images = self._images("matvec", vectors, m)
        if self.is_complex:
            measured[:, :m], measured[:, m:] = images.real, images.imag
        elif images.dtype.kind == "c":
            raise TypeError(f"matvec of {self.name} gave complex numbers, but real ones when it was tried")
        else:
            measured[:] = images
        return measured

    def adjoint(self, residuals: FloatArray) -> FloatArray:
        m, n = self.shape
        given = residuals[:, :m] + 1j * residuals[:, m:] if self.is_complex else residuals
        return np.ascontiguousarray(self._images("rmatvec", given, n).real, residuals.dtype)
