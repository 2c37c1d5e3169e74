"""Files that are whole or absent: atomic writes, one writer per folder, and disk errors in one line."""

import fcntl
import io
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from convbench.errors import CheckpointError, ConvbenchError


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the file system refuses (full disk, no permission) into one line that names `path`."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConvbenchError(f"cannot write {path}: {reason}. What was written before is kept.") from error


def write_atomically(path: Path, content: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Write `path` whole or not at all: a temporary file beside it, flushed, then renamed over it.

    A link stays: what it points to is replaced. A device or a pipe (/dev/null, /dev/stdout) is written to.

    Args:
        content: bytes, text (UTF-8), or a function that writes to the open binary file.

    Raises:
        ConvbenchError: the file system refused; the old file, if any, is untouched.
    """
    with disk_errors(path):
        if _is_stream(path):
            _write_stream(path, content)
            return
        path = Path(os.path.realpath(path))  # else the new file would take the place of a link
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                _write_content(file, content)
                file.flush()
                os.fsync(file.fileno())
            part.chmod(0o666 & ~_umask())  # mkstemp makes private files; results are for reading
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _is_stream(path: Path) -> bool:
    """Whether `path` is a device, a pipe or an open file of this process, which it would make no sense to replace."""
    try:
        mode = path.stat().st_mode
        steps = [path, path.readlink()] if path.is_symlink() else [path]
    except OSError:  # nothing is there yet
        return False
    if any(os.path.realpath(step.parent).startswith("/proc/") for step in steps):
        return True  # /dev/stdout, /dev/fd/3: also where the shell sent them to a file
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _write_stream(path: Path, content: bytes | str | Callable[[BinaryIO], object]) -> None:
    whole = io.BytesIO()
    _write_content(whole, content)
    with path.open("ab") as file:  # appending: the shell's `> file` has its own lines in it
        file.write(whole.getvalue())


def _write_content(file: BinaryIO, content: bytes | str | Callable[[BinaryIO], object]) -> None:
    if callable(content):
        content(file)
    else:
        file.write(content.encode() if isinstance(content, str) else content)


def _umask() -> int:
    # The only way to read the mask is to set it; nothing else runs in between that creates files.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def read_json(path: Path, error: type[ConvbenchError] = CheckpointError) -> dict[str, Any]:
    """The JSON object in `path`; an `error` that names it where it cannot be read as one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as reason:
        raise error(f"cannot read {path}: {(reason.strerror or str(reason)).lower()}.") from None
    except ValueError as reason:
        raise error(f"cannot read {path}: it is torn, or no JSON ({reason}).") from None
    if not isinstance(value, dict):
        raise error(f"cannot read {path}: not a JSON object.")
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as readable JSON, atomically."""
    write_atomically(path, json.dumps(value, indent=2) + "\n")


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; a second writer is refused with the first one's process number.

    The lock is the kernel's (flock): it ends with the process, however that ends.
    """
    path = folder / ".lock"
    with disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise ConvbenchError(
                f"{folder} is in use by another convbench (process {holder}). Wait for it or stop it."
            ) from None
        with disk_errors(path):
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
        yield
