"""The dashboard's password and its file."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from cloud_backend.access import passwords
from cloud_backend.access.passwords import Passwords, generate
from common.errors import AccessDenied

PASSWORD = "a long enough password"


def test_a_password_is_made_once_and_fits(tmp_path: Path) -> None:
    made = Passwords(tmp_path).make()
    assert Passwords(tmp_path).fits(made)
    assert not Passwords(tmp_path).fits(made + "x")
    assert not Passwords(tmp_path).fits("")
    assert Passwords(tmp_path).make() == ""
    assert Passwords(tmp_path).fits(made)


def test_a_made_password_has_a_hundred_bits_and_is_easy_to_type() -> None:
    assert passwords.BITS > 100
    made = {generate() for _ in range(50)}
    assert len(made) == 50
    for password in made:
        groups = password.split("-")
        assert len(groups) == 4
        assert all(set(group) <= set(passwords.LETTERS) and len(group) == 6 for group in groups)


def test_the_file_is_for_its_owner_and_holds_no_password(tmp_path: Path) -> None:
    kept = Passwords(tmp_path)
    kept.set(PASSWORD)
    assert stat.S_IMODE(kept.file.stat().st_mode) == 0o600
    content = kept.file.read_bytes()
    assert PASSWORD.encode() not in content
    assert {"scheme", "n", "r", "p", "salt", "key"} == set(msgspec.json.decode(content))
    kept.set(PASSWORD)
    assert kept.file.read_bytes() != content


def test_a_new_password_counts_at_once_for_who_runs_already(tmp_path: Path) -> None:
    running = Passwords(tmp_path)
    running.set(PASSWORD)
    Passwords(tmp_path).set("another long password")
    assert running.fits("another long password")
    assert not running.fits(PASSWORD)


@pytest.mark.parametrize("password", ["", "elevenchars", "x" * 1025])
def test_a_password_that_is_too_short_or_too_long_is_not_kept(tmp_path: Path, password: str) -> None:
    with pytest.raises(AccessDenied, match="12 to 1024"):
        Passwords(tmp_path).set(password)
    assert not Passwords(tmp_path).file.exists()


def test_the_same_letters_in_another_form_of_unicode_fit(tmp_path: Path) -> None:
    kept = Passwords(tmp_path)
    kept.set("schöne Grüße 12")
    assert kept.fits("scho\u0308ne Gru\u0308ße 12")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"scheme":"plain","salt":"","key":""}',
        b'{"scheme":"scrypt","salt":"AAAA","key":""}',
        b'{"scheme":"scrypt","salt":"AAAA","key":"AAAA","n":1048576,"r":32}',
        b'{"scheme":"scrypt","salt":"AAAA","key":"AAAA","n":2}',
    ],
)
def test_a_damaged_file_lets_nobody_in_and_the_error_names_the_remedy(tmp_path: Path, content: bytes) -> None:
    kept = Passwords(tmp_path)
    kept.file.write_bytes(content)
    with pytest.raises(AccessDenied, match="edgeloop cloud password"):
        kept.fits("")
