"""Directories that belong to this user alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def objection(directory: Path, facts: os.stat_result, setting: str) -> str | None:
    """Why what is in ``directory`` can't be trusted, and what mends it; None = it can be.

    ``facts`` are its own, not those of what it may link to. ``setting`` is what one writes before
    a path to name another directory, for example ``SEAWALL_SNAPSHOTS=``.
    """
    elsewhere = f"or name another one: {setting}/path/of/yours"
    if stat.S_ISLNK(facts.st_mode):
        return (
            f"{directory} is a symbolic link, which could lead anywhere: name the directory "
            f"itself, {setting}{directory.resolve()}"
        )
    if not stat.S_ISDIR(facts.st_mode):
        return f"{directory} is not a directory: remove it, {elsewhere}"
    if facts.st_uid != os.geteuid():
        return (
            f"{directory} belongs to user {facts.st_uid}, and this process is user "
            f"{os.geteuid()}: remove it, {elsewhere}"
        )
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return (
            f"{directory} can be written to by other users (mode {facts.st_mode & 0o7777:o}): "
            f"chmod 700 {directory}, {elsewhere}"
        )
    return None
