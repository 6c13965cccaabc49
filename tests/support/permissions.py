"""Commands that permissions stop, also where the tests run as root."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from command_line import ROOT

needs_permissions = pytest.mark.skipif(
    shutil.which("setpriv") is None and os.getuid() == 0, reason="cannot become another user"
)


def as_a_user(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as this user; but no user whom no permission stops."""
    if os.getuid() == 0:
        command = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *command)
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
