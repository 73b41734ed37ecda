"""Numba's compiler as fastflow's kernels need it: stores are kept, and what is always inlined is not compiled apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from numba import types
from numba.core import ir
from numba.core.compiler import CompilerBase, DefaultPassBuilder, compile_result
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.inline_closurecall import InlineWorker, callee_ir_validator
from numba.core.ir_utils import compute_cfg_from_blocks, guard, simplify_CFG
from numba.core.typed_passes import InlineOverloads
from numba.core.typing import signature

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


class KernelCompiler(CompilerBase):
    """Numba's compiler with `_InlineAndKeepStores`."""

    def define_pipelines(self) -> list[PassManager]:
        usual = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager = PassManager("kernel")
        for step, description in usual.passes:
            manager.add_pass(_InlineAndKeepStores if step is InlineOverloads else step, description)
        manager.finalize()
        return [manager]


class NothingAlone(CompilerBase):
    """The compiler of overloads that are always inlined: nobody calls what Numba would compile of them apart.

    Numba types them anew where they are inlined, and asks here only whether they compile.
    """

    def compile_extra(self, func: Callable[..., object]) -> CompileResult:
        # A dispatcher wants a builtin function as the entry point; this one is never entered.
        return compile_result(signature=signature(types.none, *self.state.args), entry_point=len, objectmode=False)
