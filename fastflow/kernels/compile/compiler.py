"""Numba's compiler as fastflow's kernels need it: stores are kept, and what is always inlined is not compiled apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from numba import types
from numba.core import ir
from numba.core.compiler import CompilerBase, DefaultPassBuilder, compile_result
from numba.core.compiler_machinery import FunctionPass, PassManager, register_pass
from numba.core.inline_closurecall import InlineWorker, callee_ir_validator
from numba.core.ir_utils import build_definitions, compute_cfg_from_blocks, guard, replace_vars, simplify_CFG
from numba.core.typed_passes import InlineOverloads, NativeLowering
from numba.core.typing import signature

from fastflow.kernels.compile.linking import LowerToBeLinked
from fastflow.kernels.compile.optimizing import LowerToKernel

if TYPE_CHECKING:
    from numba.core.compiler import CompileResult, StateDict


@register_pass(mutates_CFG=True, analysis_only=False)
class _InlineAndKeepStores(InlineOverloads):
    """Numba's pass that inlines overloads, without the removal of dead code with which it ends.

    That removal takes a store for dead if it does not see that the array belongs to an argument, and it overlooks
    arrays that are fields of NamedTuples in some orders of the blocks: the kernel compiles, and does not store.
    """

    _name = "inline_overloads_and_keep_stores"

    def run_pass(self, state: StateDict) -> bool:
        worker = InlineWorker(
            state.typingctx,
            state.targetctx,
            state.locals,
            state.pipeline,
            state.flags,
            callee_ir_validator,
            state.typemap,
            state.calltypes,
        )
        waiting = list(state.func_ir.blocks.items())
        while waiting:
            _, block = waiting.pop()
            for i, instruction in enumerate(block.body):
                expression = instruction.value if isinstance(instruction, ir.Assign) else None
                if isinstance(expression, ir.Expr) and guard(
                    self._do_work_expr, state, waiting, block, i, expression, worker
                ):
                    break  # the rest of this block waits in a block of its own
        for dead in compute_cfg_from_blocks(state.func_ir.blocks).dead_nodes():
            del state.func_ir.blocks[dead]
        state.func_ir.blocks = simplify_CFG(state.func_ir.blocks)
        return True


@register_pass(mutates_CFG=False, analysis_only=False)
class _ForwardCopies(FunctionPass):
    """Use a variable itself where Numba's code uses a copy of it.

    Python's stack and each inlined call leave copies of variables. One of a NamedTuple of arrays, as the groups of
    networks are, copies a hundred pointers and counts a reference to each array, twice: most of what would be compiled.
    """

    _name = "forward_copies"

    def __init__(self) -> None:
        FunctionPass.__init__(self)

    def run_pass(self, state: StateDict) -> bool:
        blocks = state.func_ir.blocks
        copies = _copies(blocks, state.typemap)
        if not copies:
            return False
        for block in blocks.values():
            block.body = [one for one in block.body if not (isinstance(one, ir.Assign) and one.target.name in copies)]
        replace_vars(blocks, copies)
        state.func_ir._definitions = build_definitions(blocks)
        return True


def _copies(blocks: dict[int, ir.Block], types_of: dict[str, types.Type]) -> dict[str, ir.Var]:
    """What may stand for each copy: a variable that has one value for as long as the copy has its own.

    That is so where both are assigned once and assignment and uses of the copy come after that of the variable on each
    way through the code (dominance).
    """
    assigned: dict[str, list[tuple[int, int]]] = {}
    used: dict[str, list[tuple[int, int]]] = {}
    joined: set[str] = set()
    for label, block in blocks.items():
        for place, one in enumerate(block.body):
            if isinstance(one, ir.Del):
                continue
            target = one.target.name if isinstance(one, ir.Assign) else None
            if target is not None:
                assigned.setdefault(target, []).append((label, place))
            if isinstance(one, ir.Assign) and isinstance(one.value, ir.Expr) and one.value.op == "phi":
                joined.update(var.name for var in one.value.incoming_values if isinstance(var, ir.Var))
                joined.add(one.target.name)
            for var in one.list_vars():
                if var.name != target:
                    used.setdefault(var.name, []).append((label, place))
    once = {name: places[0] for name, places in assigned.items() if len(places) == 1}
    dominators = compute_cfg_from_blocks(blocks).dominators()

    def before(first: tuple[int, int], then: tuple[int, int]) -> bool:
        if first[0] == then[0]:
            return first[1] < then[1]
        return first[0] in dominators[then[0]]

    copies: dict[str, ir.Var] = {}
    for label, block in blocks.items():
        for place, one in enumerate(block.body):
            if not (isinstance(one, ir.Assign) and isinstance(one.value, ir.Var)):
                continue
            copy, source = one.target.name, one.value
            if (
                copy in once
                and source.name in once
                and copy not in joined
                and types_of.get(copy) == types_of.get(source.name)
                and before(once[source.name], (label, place))
                and all(before((label, place), use) for use in used.get(copy, []))
            ):
                copies[copy] = source
    for copy in copies:  # a copy of a copy is one of the first
        while copies[copy].name in copies:
            copies[copy] = copies[copies[copy].name]
    return copies


class KernelCompiler(CompilerBase):
    """Numba's compiler with `_InlineAndKeepStores` and `_ForwardCopies`."""

    def define_pipelines(self) -> list[PassManager]:
        usual = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager = PassManager("kernel")
        alone = not self.state.flags.no_cpython_wrapper
        other = {InlineOverloads: _InlineAndKeepStores, NativeLowering: LowerToKernel if alone else LowerToBeLinked}
        for step, description in usual.passes:
            manager.add_pass(other.get(step, step), description)
            if step is InlineOverloads:
                manager.add_pass(_ForwardCopies, "use variables, not copies of them")
        manager.finalize()
        return [manager]


class NothingAlone(CompilerBase):
    """The compiler of overloads that are always inlined: nobody calls what Numba would compile of them apart.

    Numba types them anew where they are inlined, and asks here only whether they compile.
    """

    def compile_extra(self, func: Callable[..., object]) -> CompileResult:
        # A dispatcher wants a builtin function as the entry point; this one is never entered.
        return compile_result(signature=signature(types.none, *self.state.args), entry_point=len, objectmode=False)
