import os
import resource
import stat
from contextlib import contextmanager

import pytest

from cospeech.io import atomic_path


@contextmanager
def full_disk(num_bytes=1000):
    """Writing past so many bytes of any file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_file_appears_at_the_end(tmp_path):
    target = tmp_path / "clip.npz"
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".npz"
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_content(tmp_path, error):
    target = tmp_path / "clip.npz"
    target.write_text("old")

    def write_half():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_leaves_nothing_and_names_the_file(tmp_path):
    target = tmp_path / "clip.npz"
    with full_disk(), pytest.raises(OSError, match=r"clip\.npz"), atomic_path(target) as temporary:
        temporary.write_bytes(bytes(5000))
    assert not list(tmp_path.iterdir())


def test_permissions_follow_the_umask_and_then_the_old_file(tmp_path):
    target = tmp_path / "clip.npz"
    umask = os.umask(0o022)
    try:
        with atomic_path(target):
            pass
        assert stat.S_IMODE(target.stat().st_mode) == 0o644
        target.chmod(0o600)
        with atomic_path(target):
            pass
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
    finally:
        os.umask(umask)


def test_a_link_is_followed(tmp_path):
    target, link = tmp_path / "real.npz", tmp_path / "link.npz"
    target.write_text("old")
    link.symlink_to(target)
    with atomic_path(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_long_name_is_no_trouble(tmp_path):
    target = tmp_path / ("x" * 251 + ".npz")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_a_folder_or_a_device_is_not_replaced(tmp_path):
    for path in (tmp_path, "/dev/null"):
        with pytest.raises(IsADirectoryError, match="folder or a device"), atomic_path(path):
            pass


def test_a_missing_folder_is_named_as_the_caller_wrote_it(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "none" / "clip.npz"):
        pass
    assert caught.value.filename == str(tmp_path / "none" / "clip.npz")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=r"clip\.npz"), atomic_path(tmp_path / "clip.npz"):
        pass
