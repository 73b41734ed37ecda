"""The cache of compiled kernels on disk: what is kept, where, and how much of it is believed.

Numba's own cache has gaps that would give wrong numbers or crashes here. It looks at the file of the function that it
caches, not at the files of the functions called from there, so an edited callee goes unnoticed. It caches code that was
specialised on a user's class by that class's name, so an edited class meets its old code, and a script that cannot
import it fails. It runs whatever its files hold, also what a disk has changed or a stranger has put there. It keeps
nothing, and reads nothing, where it cannot write.

Here each version of a kernel has a file of its own, whose name says all that it was compiled from; a digest in front of
the code says whether it is that code. What does not fit is compiled anew, and said once.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import inspect
import os
import pickle
import stat
import sys
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import llvmlite
import numba
from numba import types
from numba.core.caching import CacheImpl
from numba.core.serialize import dumps

from fastflow.kernels.compile.levels import LEVELS
from fastflow.kernels.compile.linking import rebuild
from fastflow.kernels.compile.turns import turn_to_compile

if TYPE_CHECKING:
    from numba.core.base import BaseContext
    from numba.core.caching import _CacheLocator
    from numba.core.codegen import Codegen
    from numba.core.compiler import CompileResult
    from numba.core.typing import Signature

PACKAGE = __name__.split(".", 1)[0]
DIGEST_BYTES = 32
FILE_MODE, FOLDER_MODE = 0o664, 0o775
"""Nobody but the owner and his group, whatever the umask allows, may write what will be run."""


@functools.cache
def kernels_stamp(folder: Path = Path(__file__).parents[1]) -> str:
    """A digest of all source files of the kernels, in all folders: what compiled code and its constants come from."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_our_type(numba_type: types.Type) -> bool:
    """Whether a type is Numba's own or is built from fastflow's own classes, all the way down."""
    if isinstance(numba_type, types.NamedTuple | types.NamedUniTuple):
        module = numba_type.instance_class.__module__
        if module.split(".", 1)[0] != PACKAGE:
            return False
    if isinstance(numba_type, types.BaseTuple):
        return all(is_our_type(member) for member in numba_type)
    return not isinstance(numba_type, types.Dispatcher | types.Function | types.ClassInstanceType)


def _full_name(numba_type: types.Type) -> str:
    """The name of a type, of classes with their modules: two that are both called Step are not the same."""
    if not isinstance(numba_type, types.BaseTuple):
        return repr(numba_type)
    of = ""
    if isinstance(numba_type, types.NamedTuple | types.NamedUniTuple):
        kind = numba_type.instance_class
        of = f"{kind.__module__}.{kind.__qualname__}"
    return f"{of}({', '.join(map(_full_name, numba_type))})"


class KernelCache:
    """The compiled versions of one function on disk, stale when any kernel file changes, closed to foreign classes.

    Parameters
    ----------
    function : what is compiled
    """

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    @functools.cached_property
    def _locators(self) -> list[_CacheLocator]:
        """Numba's for this function: where the user said, beside its source, in the user's own folder."""
        file = inspect.getfile(self._function)
        found = (_untried(kind).from_function(self._function, file) for kind in CacheImpl._locator_classes)
        return [locator for locator in found if locator is not None]

    @functools.cached_property
    def folders(self) -> list[Path]:
        """Where files may lie, in the order in which they are looked for, without folders that anybody can write."""
        folders = (Path(locator.get_cache_path()) for locator in self._locators)
        return [folder for folder in folders if _is_private(folder)]

    @functools.cached_property
    def _stem(self) -> str:
        """The beginning of the names of all files of the function."""
        code = self._function.__code__
        name = f"{Path(code.co_filename).stem}.{self._function.__qualname__}-{code.co_firstlineno}"
        return f"{name.replace('<', '').replace('>', '')}.{sys.implementation.cache_tag}"

    @functools.cached_property
    def _source(self) -> str:
        """What all versions of the function are compiled from and by."""
        made_by, sources = (numba.__version__, llvmlite.__version__), self._locators[0].get_source_stamp()
        return repr((made_by, kernels_stamp(), tuple(LEVELS), sources))

    def _identity(self, types_of_arguments: tuple[types.Type, ...], codegen: Codegen) -> str:
        """What one version is compiled from and for."""
        cells = [cell.cell_contents for cell in self._function.__closure__ or ()]
        held = hashlib.blake2b(dumps(cells)).hexdigest() if cells else ""
        code = hashlib.blake2b(self._function.__code__.co_code).hexdigest()
        arguments = ", ".join(map(_full_name, types_of_arguments))
        return repr((self._stem, self._source, arguments, codegen.magic_tuple(), code, held))

    def _file_name(self, identity: str) -> str:
        return f"{self._stem}.{_short(self._source)}-{_short(identity)}.nbc"

    @property
    def cache_path(self) -> str | None:
        """The folder that files are written to, None where there is none."""
        return next((str(folder) for folder in self.folders if _can_be_written(folder)), None)

    def load_overload(
        self, sig: Signature | tuple[types.Type, ...], target_context: BaseContext
    ) -> CompileResult | None:
        """The compiled version for these types of arguments, None where no file has it that can be believed."""
        arguments = _argument_types(sig)
        if not self._locators or not all(map(is_our_type, arguments)):
            return None
        target_context.refresh()
        identity = self._identity(arguments, target_context.codegen())
        for folder in self.folders:
            code = _read(folder / self._file_name(identity), identity)
            if code is None:
                continue
            try:
                return rebuild(target_context, pickle.loads(code))
            except Exception as error:  # whatever unpickling and linking may raise
                _say_once("damaged", f"the kernel cache {folder} cannot be read ({error!r}): it is compiled anew")
        return None

    def turn(
        self, sig: Signature | tuple[types.Type, ...], target_context: BaseContext
    ) -> contextlib.AbstractContextManager[None]:
        """Wait while another process compiles this version; who is in the block will find its file, or compiles it."""
        arguments, writable = _argument_types(sig), self.cache_path
        if writable is None or not all(map(is_our_type, arguments)):
            return contextlib.nullcontext()
        name = self._file_name(self._identity(arguments, target_context.codegen()))
        if any(os.path.exists(folder / name) for folder in self.folders):
            return contextlib.nullcontext()
        with contextlib.suppress(OSError):
            _make(Path(writable))
        return turn_to_compile(Path(writable) / f"{name}.lock", FILE_MODE)

    def save_overload(self, sig: Signature | tuple[types.Type, ...], data: CompileResult) -> None:
        """Keep a compiled version, in the first folder that takes it."""
        arguments = _argument_types(sig)
        if not self._locators or not all(map(is_our_type, arguments)) or data.library.has_dynamic_globals:
            return
        identity = self._identity(arguments, data.library.codegen)
        code = dumps(data._reduce())
        troubles: list[OSError] = []
        for folder in self.folders:
            try:
                _write(folder, self._file_name(identity), _digest(identity, code) + code)
            except OSError as error:
                troubles.append(error)
            else:
                self._remove_stale(folder)
                return
        if troubles:
            _say_once(
                "unwritable",
                f"compiled kernels cannot be kept in {self.folders[0]} ({troubles[0].strerror}): every process that "
                "needs them compiles; NUMBA_CACHE_DIR names another folder",
            )

    def _remove_stale(self, folder: Path) -> None:
        """Remove what was compiled of the function from other sources."""
        for path in folder.glob(f"{glob.escape(self._stem)}.*"):
            if not path.name.startswith(f"{self._stem}.{_short(self._source)}-"):
                with contextlib.suppress(OSError):
                    path.unlink()

    def flush(self) -> None:
        """Forget what is kept, which Numba asks for where it is to compile anew."""
        for folder in self.folders:
            for path in folder.glob(f"{glob.escape(self._stem)}.*"):
                with contextlib.suppress(OSError):
                    path.unlink()


def _argument_types(sig: Signature | tuple[types.Type, ...]) -> tuple[types.Type, ...]:
    return tuple(getattr(sig, "args", sig))


@functools.cache
def _untried(locator: type[_CacheLocator]) -> type[_CacheLocator]:
    """A locator of Numba's that does not try to write: what others have compiled can be read without."""
    return type(locator.__name__, (locator,), {"ensure_cache_path": lambda self: None})


def _short(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _digest(identity: str, code: bytes) -> bytes:
    """Of the code of a version and of which version it is, as files may be swapped."""
    digest = hashlib.blake2b(identity.encode(), digest_size=DIGEST_BYTES)
    digest.update(code)
    return digest.digest()


def _read(path: Path, identity: str) -> bytes | None:
    """The code that a file holds of a version, None where it holds none, or anybody could have put it there."""
    try:
        with open(path, "rb") as file:
            about = os.fstat(file.fileno())
            content = file.read()
    except OSError:
        return None
    if os.name == "posix" and about.st_mode & stat.S_IWOTH:
        _say_once("open", f"the kernel {path} can be written by anybody: it is not run, but compiled anew")
        return None
    if not _is_of_trusted(about):
        _say_once("foreign", f"the kernel {path} belongs to another user: it is not run, but compiled anew")
        return None
    code = content[DIGEST_BYTES:]
    if content[:DIGEST_BYTES] != _digest(identity, code):
        _say_once("damaged", f"files of the kernel cache {path.parent} are damaged: what they held is compiled anew")
        return None
    return code


def _make(folder: Path) -> None:
    """Make a folder, and the one that it is in, where they are not there yet."""
    for each in (folder.parent, folder):
        each.mkdir(FOLDER_MODE, parents=True, exist_ok=True)


def _write(folder: Path, name: str, content: bytes) -> None:
    """Write a file that appears whole or not at all."""
    _make(folder)
    temporary = folder / f"{name}.{uuid.uuid4().hex}"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "wb") as file:
            file.write(content)
        os.replace(temporary, folder / name)
    except BaseException:  # an interrupt, too, leaves nothing behind
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


@functools.cache
def _is_private(folder: Path) -> bool:
    """Whether a folder, if there is one, is closed to code that others may put there, or put in its place."""
    if os.name != "posix":
        return True
    for path, harmless in ((folder, 0), (folder.parent, stat.S_ISVTX)):
        with contextlib.suppress(OSError):
            about = path.stat()
            if about.st_mode & stat.S_IWOTH and not about.st_mode & harmless:
                _say_once("open", f"the kernel cache {path} can be written by anybody: it is not used (chmod o-w)")
                return False
            if not _is_of_trusted(about):
                _say_once(
                    "foreign",
                    f"the kernel cache {path} belongs to another user: it is not used (NUMBA_CACHE_DIR names another)",
                )
                return False
    return True


@functools.cache
def _trusted_users() -> frozenset[int]:
    """Whose code runs here anyway: the user's, the system's, and that of whoever owns this source."""
    return frozenset({os.geteuid(), 0, os.stat(__file__).st_uid})


def _is_of_trusted(about: os.stat_result) -> bool:
    return os.name != "posix" or about.st_uid in _trusted_users()


def _can_be_written(folder: Path) -> bool:
    """Whether a folder is there, or could be made, for writing."""
    there = next((path for path in (folder, *folder.parents) if os.path.exists(path)), folder)
    return os.access(there, os.W_OK | os.X_OK)


_said: set[str] = set()


def _say_once(kind: str, text: str) -> None:
    """Warn, of each kind of trouble once in a process."""
    if kind not in _said:
        _said.add(kind)
        warnings.warn(text, stacklevel=2)


def cache_path() -> str | None:
    """Where compiled kernels are kept, a folder for each of theirs; None where none can be written."""
    path = KernelCache(kernels_stamp.__wrapped__).cache_path
    if path is None:
        return None
    own = Path(path)  # of this file's folder: one beside the sources, or one of several of Numba's
    return str(own.parents[1] / "*" / own.name if own.name == "__pycache__" else own.parent)
