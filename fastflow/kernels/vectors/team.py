"""Teams: large products of one run, whose columns are shared out among threads.

Who has a run *leads*: its kernel writes what a product is on a board, and works on its parts, as do threads that have
no run and look at the board meanwhile (`assist`). It waits for nobody who has not taken a part, so helpers may come and
go. An element of a product is one chain wherever it is computed, so that its bits are the same.

A part is taken by adding 1 to a ticket, which has the number of the product, of its parts, and of those that are
taken. Only who has got a part reads what the product is: the leader writes that of the next one when all are done.
"""

from __future__ import annotations

import platform

import llvmlite.ir as ir
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastflow.kernels.compile.jit import jit, jit_inline, jit_internal
from fastflow.kernels.compile.levels import LEVELS
from fastflow.kernels.vectors.layouts import VECTOR_BYTES, address, integer_at, item_bytes, keep, set_integer
from fastflow.kernels.vectors.row_tiles import is_large, row_tiles
from fastflow.kernels.vectors.simd import I64
from fastflow.kernels.vectors.tiles import MOST_VECTORS, PANELS

SHARED_WORK = 96**3
"""From so many multiplications on a product is shared (measured)."""

MOST_PARTS = 64
"""Parts of a product at most."""

BLOCK_ROWS = LEVELS.second // 2**11
"""Rows of C in a part of a large product: beside `PANELS` of B they stay in the second-level cache."""

LEAST_PARTS = 3
"""Parts that everybody should get, so that none waits long for the last of them."""

AT_ONCE = 32
"""Parts after which a helper looks whether it should stop."""

# Words of 8 bytes of a board; each that is written while others read has a cache line of its own.
LINE = 8
TICKET, DONE, HELPERS, PRODUCT, MOVED = 0, LINE, 2 * LINE, 3 * LINE, 6 * LINE
BOARD_WORDS = MOVED + MOST_PARTS * LINE

C, C_ROW, A, A_ROW, A_COL, B, B_ROW, B_COL, M, K, N, WHOLE, FACTOR, STEPS, ACROSS = range(15)
"""Places of what a product is."""

PARTS_BITS = 16
"""Bits of a ticket for how many parts are taken, and for how many there are; above them is the product's number."""


def make_board() -> np.ndarray:
    """A board for one leader, at which nobody looks; int64 array, whose entries begin a cache line."""
    words = np.zeros(BOARD_WORDS + LINE, np.int64)
    start = -words.ctypes.data % (8 * LINE) // 8
    return words[start : start + BOARD_WORDS]


def show_board(board: np.ndarray, helpers: int) -> None:
    """Say how many may look at a board from now on."""
    board[HELPERS] = helpers


@intrinsic
def acquire(typingctx, at):
    """The int64 at an address; what its writer has written before `release` is seen."""

    def codegen(context, builder, signature, arguments):
        return builder.load_atomic(builder.inttoptr(arguments[0], I64.as_pointer()), "acquire", 8)

    return types.int64(types.intp), codegen


@intrinsic
def release(typingctx, at, value):
    """Store an int64 at an address, for who reads it by `acquire`."""

    def codegen(context, builder, signature, arguments):
        builder.store_atomic(arguments[1], builder.inttoptr(arguments[0], I64.as_pointer()), "release", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.int64), codegen


@intrinsic
def add_one(typingctx, at):
    """Add 1 to the int64 at an address in one go; what it was."""

    def codegen(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], I64.as_pointer())
        return builder.atomic_rmw("add", pointer, ir.Constant(I64, 1), "acq_rel")

    return types.int64(types.intp), codegen


@intrinsic
def pause(typingctx):
    """Let a processor that waits for another one do so cheaply."""

    def codegen(context, builder, signature, arguments):
        if platform.machine().lower() in ("x86_64", "amd64"):
            nothing = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, nothing, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@jit_inline
def _word(team, place):
    return integer_at(team + 8 * (PRODUCT + place))


@jit_inline
def _set_word(team, place, value):
    set_integer(team + 8 * (PRODUCT + place), np.int64(value))


@jit_internal
def shared_tiles(zero, team, c, c_row, a, a_row, a_col, b, b_row, b_col, m, k, n, whole, factor, steps, moved):
    """`row_tiles` in parts, which are shared with those who look at a board, at an address (0: there is none)."""
    helpers = integer_at(team + 8 * HELPERS) if team != 0 else 0
    across, down = parts_of(zero, m, k, n, 1 + helpers)
    if across * down == 1:
        row_tiles(zero, c, c_row, a, a_row, a_col, b, b_row, b_col, m, k, n, False, whole, factor, steps, moved)
        return
    if helpers == 0:
        place = (c, c_row, a, a_row, a_col, b, b_row, b_col)
        for part in range(across * down):
            part_tiles(zero, part, across, down, *place, m, k, n, whole, factor, steps, moved)
        return
    parts = across * down
    _set_word(team, ACROSS, across)
    _set_word(team, C, c)
    _set_word(team, C_ROW, c_row)
    _set_word(team, A, a)
    _set_word(team, A_ROW, a_row)
    _set_word(team, A_COL, a_col)
    _set_word(team, B, b)
    _set_word(team, B_ROW, b_row)
    _set_word(team, B_COL, b_col)
    _set_word(team, M, m)
    _set_word(team, K, k)
    _set_word(team, N, n)
    _set_word(team, WHOLE, whole)
    _set_word(team, FACTOR, factor)
    _set_word(team, STEPS, steps)
    for part in range(parts):
        set_integer(team + 8 * (MOVED + LINE * part), np.int64(0))
    set_integer(team + 8 * DONE, np.int64(0))
    number = (acquire(team + 8 * TICKET) >> (2 * PARTS_BITS)) + 1
    release(team + 8 * TICKET, (number << (2 * PARTS_BITS)) | (parts << PARTS_BITS))
    work_on(zero, team, parts)
    while acquire(team + 8 * DONE) < parts:
        pause()
    if factor != 0:
        any_moved = integer_at(moved)
        for part in range(parts):
            any_moved |= integer_at(team + 8 * (MOVED + LINE * part))
        set_integer(moved, any_moved)


@jit_inline
def parts_of(zero, m, k, n, workers):
    """Into how many parts a product goes across its columns and down its rows, for so many workers.

    Of a small one each panel of columns is one, where there is anybody to share it. Of a large one the rows of C and
    the panels of B that meet in a part stay near while all of k passes; everybody gets `LEAST_PARTS`.
    """
    lanes = VECTOR_BYTES // item_bytes(zero)
    vectors = (n + lanes - 1) // lanes
    panels = (vectors + MOST_VECTORS - 1) // MOST_VECTORS
    across, down = 1, 1
    if is_large(zero, m, k):
        down = min((m + BLOCK_ROWS - 1) // BLOCK_ROWS, MOST_PARTS)
        across = max((panels + PANELS - 1) // PANELS, (LEAST_PARTS * workers + down - 1) // down if workers > 1 else 1)
    elif workers > 1:
        across = panels
    return max(1, min(across, panels, MOST_PARTS // down)), down


@jit_internal
def part_tiles(
    zero, part, across, down, c, c_row, a, a_row, a_col, b, b_row, b_col, m, k, n, whole, factor, steps, moved
):
    """`row_tiles` of one part of a product: across first, then down."""
    size = item_bytes(zero)
    lanes = VECTOR_BYTES // size
    vectors = (n + lanes - 1) // lanes
    column, row = part % across, part // across
    first = column * vectors // across * lanes
    columns = min(n, (column + 1) * vectors // across * lanes) - first
    top = row * m // down
    place = (top * c_row + first) * size
    row_tiles(
        zero,
        c + place,
        c_row,
        a + top * a_row * size,
        a_row,
        a_col,
        b + first * b_col * size,
        b_row,
        b_col,
        (row + 1) * m // down - top,
        k,
        columns,
        False,
        whole,
        factor + place if factor != 0 else 0,
        steps,
        moved,
    )


@jit_internal
def work_on(zero, team, most):
    """Take parts of the product on a board, until there are none or so many are done; how many were done."""
    mask, done = (1 << PARTS_BITS) - 1, 0
    while done < most:
        ticket = acquire(team + 8 * TICKET)
        if (ticket & mask) >= ((ticket >> PARTS_BITS) & mask):
            break
        ticket = add_one(team + 8 * TICKET)
        part, parts = ticket & mask, (ticket >> PARTS_BITS) & mask
        if part >= parts:
            break
        across = _word(team, ACROSS)
        part_tiles(
            zero,
            part,
            across,
            parts // across,
            np.intp(_word(team, C)),
            np.intp(_word(team, C_ROW)),
            np.intp(_word(team, A)),
            np.intp(_word(team, A_ROW)),
            np.intp(_word(team, A_COL)),
            np.intp(_word(team, B)),
            np.intp(_word(team, B_ROW)),
            np.intp(_word(team, B_COL)),
            np.intp(_word(team, M)),
            np.intp(_word(team, K)),
            np.intp(_word(team, N)),
            _word(team, WHOLE) != 0,
            np.intp(_word(team, FACTOR)),
            np.intp(_word(team, STEPS)),
            np.intp(team + 8 * (MOVED + LINE * part)),
        )
        add_one(team + 8 * DONE)
        done += 1
    return done


@jit
def assist(zero, board, turns):
    """Help the leader of a board, until nothing has come for so many turns; how many parts were done."""
    team, done, idle = address(board, 0), 0, 0
    while idle < turns and done < AT_ONCE:
        some = work_on(zero, team, AT_ONCE)
        idle = 0 if some else idle + 1
        done += some
        if not some:
            pause()
    keep(board)
    return done
