"""Code that is linked into other code and entered by nobody else: it becomes machine code there, not once more apart.

Numba optimises all of a kernel, translates it to machine code, and does both again, for the same code, in each kernel
that calls it, and in each that calls those. Of what only other kernels call the machine code is never run: a tower of
kernels takes half the time without it (measured).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm
from numba import _dynfunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompileResult
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering

from fastflow.kernels.compile.counting import counting_where_needed

if TYPE_CHECKING:
    from numba.core.base import BaseContext
    from numba.core.compiler import StateDict
    from numba.core.environment import Environment
    from numba.core.funcdesc import FunctionDescriptor

LINKED = "linked"
"""How the cache marks what is kept as LLVM's code, in place of Numba's ``"object"``."""


class LinkedLibrary(JITCodeLibrary):
    """Numba's library of one function and all that it calls, without machine code."""

    def _optimize_final_module(self) -> None:
        """Leave that to the library that this one is linked into."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        return 0

    def serialize_using_object_code(self) -> tuple[str, str, bytes]:
        self._ensure_finalized()
        return self.name, LINKED, self._get_module_for_linking().as_bitcode()


@register_pass(mutates_CFG=True, analysis_only=False)
class LowerToBeLinked(NativeLowering):
    """Numba's translation of a function to LLVM's code, into a `LinkedLibrary`."""

    _name = "lower_to_be_linked"

    def run_pass(self, state: StateDict) -> bool:
        state.library = LinkedLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        with counting_where_needed(state):
            super().run_pass(state)
        state.library._ensure_finalized()
        lowered = state.cr
        entry = _nothing(lowered.fndesc, lowered.env, state.library)
        state.targetctx.insert_user_function(entry, lowered.fndesc, [state.library])
        state.reload_init.extend(getattr(state.library, "_reload_init", ()))  # which Numba has from 0.62 on
        state.cr = lowered._replace(cfunc=entry)
        return True


def _nothing(described: FunctionDescriptor, environment: Environment, library: LinkedLibrary) -> object:
    """What a dispatcher takes for the entry into code that has none: by it Numba knows the code. Nobody may call it."""
    name = described.qualname.rsplit(".", 1)[-1]
    return _dynfunc.make_function(described.lookup_module(), name, "", 0, environment, (library,))


def rebuild(context: BaseContext, reduced: tuple[Any, ...]) -> CompileResult:
    """What `CompileResult._reduce` has made smaller, of either kind."""
    kept, described, environment, signature, objectmode, lifted, annotation, reload_init, _ = reduced
    name, kind, *code = kept
    if kind != LINKED:
        return CompileResult._rebuild(context, *reduced)
    for function in reload_init:
        function()
    library = LinkedLibrary(context.codegen(), name)
    library._shared_module = library._final_module = llvm.parse_bitcode(code[0])
    library._finalize_final_module()
    return CompileResult(
        target_context=context,
        typing_context=context.typing_context,
        library=library,
        environment=environment,
        entry_point=_nothing(described, environment, library),
        fndesc=described,
        type_annotation=annotation,
        signature=signature,
        objectmode=objectmode,
        lifted=lifted,
        typing_error=None,
        call_helper=None,
        metadata=None,
        reload_init=reload_init,
        referenced_envs=[],
    )
