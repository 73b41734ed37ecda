"""Kernels that LLVM optimises once.

Numba has LLVM optimise a module twice: the first time, at nearly the price of the second, for the sake of reference
counts, which it removes afterwards where calls have become part of their callers. Kernels have next to none
(`counting`): without the first time they are as fast, and compiled in a twelfth less (measured).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

from fastflow.kernels.compile.counting import counting_where_needed

if TYPE_CHECKING:
    from numba.core.compiler import StateDict


class KernelLibrary(JITCodeLibrary):
    """Numba's library of one function and all that it calls, optimised once."""

    def _optimize_final_module(self) -> None:
        made = self._codegen._module_pass_manager()
        if isinstance(made, tuple):
            passes, builder = made
            passes.run(self._final_module, builder)
        else:  # before Numba 0.62, by LLVM's former passes
            super()._optimize_final_module()


@register_pass(mutates_CFG=True, analysis_only=False)
class LowerToKernel(NativeLowering):
    """Numba's translation of a function to machine code, in a `KernelLibrary`."""

    _name = "lower_to_kernel"

    def run_pass(self, state: StateDict) -> bool:
        state.library = KernelLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        with counting_where_needed(state):
            changed: bool = super().run_pass(state)
        return changed
