import errno
import os
import subprocess
import sys

import pytest

from convbench.errors import ConvbenchError
from convbench.files import only_writer, write_atomically


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    write_atomically(path, "old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConvbenchError, match="no space left on device"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]


def test_content_may_be_bytes_or_a_writer(tmp_path):
    write_atomically(tmp_path / "deep" / "a", b"\0\1")
    write_atomically(tmp_path / "b", lambda file: file.write(b"written"))
    assert (tmp_path / "deep" / "a").read_bytes() == b"\0\1"
    assert (tmp_path / "b").read_bytes() == b"written"


def test_files_get_the_permissions_of_the_umask(tmp_path):
    write_atomically(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_second_writer_is_refused_and_the_lock_dies_with_its_process(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom convbench.files import only_writer\n"
        "with only_writer(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "held"
        message = f"in use by another convbench \\(process {other.pid}\\)"
        with pytest.raises(ConvbenchError, match=message), only_writer(tmp_path):
            pass
        other.kill()
        other.wait()
    with only_writer(tmp_path):
        pass
