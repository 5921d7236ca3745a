"""The worker of a job starts quickly: it loads no library that only the cloud needs."""

from __future__ import annotations

import subprocess
import sys


def test_the_worker_imports_no_database_and_no_web_library() -> None:
    program = (
        "import sys, cloud_backend.training.worker\n"
        "print(*{'sqlalchemy', 'sqlmodel', 'alembic', 'fastapi', 'pydantic', 'nicegui'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []
