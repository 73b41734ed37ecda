"""The Rosenbrock method Rodas5P: for a stiff ``y' = f(y)`` whose Jacobian J is known, linear systems alone.

A step of length h solves, one after the other, for the stages u_1 .. u_8::

    (1/(h GAMMA) - J) u_i = f(y + sum_{j<i} STAGE[i, j] u_j) + 1/h sum_{j<i} RATE[i, j] u_j

The step is ``sum_j STEP[j] u_j``, of order 5; without u_8, which is the estimate of the error, the order is 4. The
step up to a fraction s of it is, of order 4, ``s (step + (1 - s) (d_1 + s (d_2 + s d_3)))``, ``d_i = DENSE[i] u``.
L-stable, stiffly accurate, and without order reduction on linear parabolic problems.

Where f hardly changes within a step, all of this is a straight line and differences that rounding drowns; where f is
stiff, h f is large and almost all of it comes to nothing. So stages are better held as ``u_i = h WEIGHT[i] f_s + v_i``,
where WEIGHT are the u_i of h = f = 1, J = 0, and ``f_s = (1 - h GAMMA J)^{-1} f(y)`` is f without its stiff part::

    (1/(h GAMMA) - J) v_i = f(y + h NODE[i] f_s + sum_{j<i} STAGE[i, j] v_j) - f(y)
                            + h (WEIGHT[i] - GAMMA) J f_s + 1/h sum_{j<i} RATE[i, j] v_j

The step is then ``h f_s + sum_j STEP[j] v_j``, the estimate of its error v_8, and so on.

G. Steinebach, Construction of Rosenbrock-Wanner method Rodas5P and numerical benchmarks within the Julia Differential
Equations package, BIT Numerical Mathematics 63 (2023) 27.
"""

from __future__ import annotations

import numpy as np

STAGES = 8
ORDER = 5
GAMMA = 0.21193756319429014


def _lower(*rows: tuple[float, ...]) -> np.ndarray:
    """A strictly lower triangular matrix from its rows, the empty first one left out."""
    matrix = np.zeros((STAGES, STAGES))
    for i, row in enumerate(rows):
        matrix[i + 1, : i + 1] = row
    return matrix


_LAST = (-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946)

STAGE = _lower(
    (3.0,),
    (2.849394379747939, 0.45842242204463923),
    (-6.954028509809101, 2.489845061869568, -10.358996098473584),
    (2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641),
    _LAST,
    (*_LAST, 1.0),
    (*_LAST, 1.0, 1.0),
)

STEP = np.array([*_LAST, 1.0, 1.0, 1.0])

RATE = _lower(
    (-14.155112264123755,),
    (-17.97296035885952, -2.859693295451294),
    (147.12150275711716, -1.41221402718213, 71.68940251302358),
    (165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306),
    (24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471),
    (
        30.91273214028599,
        -3.1208243349937974,
        77.79954646070892,
        34.28646028294783,
        -19.097331116725623,
        -28.087943162872662,
    ),
    (
        37.80277123390563,
        -3.2571969029072276,
        112.26918849496327,
        66.9347231244047,
        -40.06618937091002,
        -54.66780262877968,
        -9.48861652309627,
    ),
)

DENSE = np.array(
    [
        [
            25.948786856663858,
            -2.5579724845846235,
            10.433815404888879,
            -2.3679251022685204,
            0.524948541321073,
            1.1241088310450404,
            0.4272876194431874,
            -0.17202221070155493,
        ],
        [
            -9.91568850695171,
            -0.9689944594115154,
            3.0438037242978453,
            -24.495224566215796,
            20.176138334709044,
            15.98066361424651,
            -6.789040303419874,
            -6.710236069923372,
        ],
        [
            11.419903575922262,
            2.8879645146136994,
            72.92137995996029,
            80.12511834622643,
            -52.072871366152654,
            -59.78993625266729,
            -0.15582684282751913,
            4.883087185713722,
        ],
    ]
)


def _straight() -> tuple[np.ndarray, np.ndarray]:
    """``WEIGHT`` and ``NODE`` from the definition of the stages, for a constant f."""
    weight = np.zeros(STAGES)
    for i in range(STAGES - 1):
        weight[i] = GAMMA * (1 + RATE[i] @ weight)
    return weight, STAGE @ weight


WEIGHT, NODE = _straight()
