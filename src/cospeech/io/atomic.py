"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["atomic_path"]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it takes the place of ``path`` only when the block succeeds.

    Nobody ever sees half a file: until the block ends the old content of ``path`` stays as it was, and if the block
    raises (disk full, Ctrl-C) the temporary file is removed. A symbolic link is followed, not replaced.

    Args:
        path: The file to write. Its folder must exist.

    Yields:
        An empty file in the same folder and with the same suffix, to be opened and written by the caller.

    Raises:
        OSError: If the folder does not exist, cannot be written or has no room, or if ``path`` is there and is no
            plain file; it names ``path``, not the temporary file.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    target = Path(os.path.realpath(path))  # os.replace would put a file in the place of the link itself
    if target.exists() and not target.is_file():
        # Renaming over a device or a pipe would destroy it.
        raise IsADirectoryError(errno.EISDIR, "There is a folder or a device, not a file", os.fspath(path))
    # A short name of its own: the target's may already be as long as the file system allows.
    temporary = target.with_name(f".cospeech-{secrets.token_hex(8)}{target.suffix}")
    try:
        # Not tempfile: its files are readable by their owner only, and would stay so after the rename.
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None
    try:
        yield temporary
        if target.exists():
            os.chmod(temporary, target.stat().st_mode & 0o7777)
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            # A full disk names no file, or ours: the caller knows only the one that was asked for.
            raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from error
        raise
