"""What the system refuses, also where the tests run as the superuser."""

import errno
import os
from pathlib import Path


def close_folder(monkeypatch, folder):
    """Let a folder be there and not be looked into."""
    really = os.scandir

    def scandir(path="."):
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really(path)

    monkeypatch.setattr(os, "scandir", scandir)


def close_file(monkeypatch, name):
    """Let files of a name be there and not be opened."""
    really = Path.open

    def opened(path, *arguments, **options):
        if path.name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return really(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", opened)
