import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

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


@pytest.mark.parametrize("content", ["text", b"text", lambda file: file.write(b"text")])
def test_a_named_pipe_is_written_to(tmp_path, content):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, content)
    reader.join(timeout=10)
    assert read == [b"text"]
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_a_device_stays_a_device(tmp_path):
    null = tmp_path / "null"
    os.mknod(null, stat.S_IFCHR | 0o600, os.makedev(1, 3))  # as /dev/null, which a failing test must not destroy
    if not os.access(null, os.W_OK):
        pytest.skip("this folder is mounted without devices")
    write_atomically(null, "text")
    assert null.is_char_device()
    assert list(tmp_path.iterdir()) == [null]


@pytest.mark.parametrize("target", ["there", "not there"])
def test_a_link_stays_a_link(tmp_path, target):
    file, link = tmp_path / "store" / "file", tmp_path / "link"
    link.symlink_to(Path("store") / "file")
    if target == "there":
        write_atomically(file, "old")
    write_atomically(link, "new")
    assert link.is_symlink()
    assert file.read_text() == "new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "link", "store"]


def test_the_standard_output_is_written_to_where_the_shell_sends_it_to_a_file(tmp_path):
    code = (
        "from pathlib import Path\nfrom convbench.files import write_atomically\n"
        "print('before', flush=True)\nwrite_atomically(Path('/dev/stdout'), 'text\\n')\n"
    )
    with (tmp_path / "log").open("w") as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, check=True)
    assert (tmp_path / "log").read_text() == "before\ntext\n"


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
