"""Dwell map: how long people were where, as seconds in the cells of a floor plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class DwellMap:
    """A grid of ``cell`` wide cells over a plan from (0, 0) to ``(width, height)``, in the plan's unit.

    The grid is the whole state. Points outside of the plan are counted in `outside`.
    """

    MAX_STEP_S = 2.0
    """Longest time between two frames that counts as presence; a longer gap counts as this."""
    CELLS_LIMIT = 1_000_000

    def __init__(self, width: float, height: float, cell: float) -> None:
        """Raises `ValueError` for a plan without cells, or with more than `CELLS_LIMIT`."""
        sizes = (width, height, cell)
        if not all(np.isfinite(size) and size > 0 for size in sizes):
            raise ValueError(f"a plan of {width:g} by {height:g} with cells of {cell:g} has no cells")
        rows, columns = int(np.ceil(height / cell)), int(np.ceil(width / cell))
        if rows * columns > self.CELLS_LIMIT:
            raise ValueError(f"a plan has at most {self.CELLS_LIMIT} cells, not {rows * columns}")
        self._cell = cell
        self.seconds: NDArray[np.float64] = np.zeros((rows, columns))
        self.outside = 0
        self._time_ns: int | None = None

    def update(self, points: ArrayLike, captured_ns: int) -> None:
        """Add the time since the last frame at each of the points (n, 2)."""
        before, self._time_ns = self._time_ns, captured_ns
        if before is None or captured_ns <= before:
            return
        flat = np.asarray(points, np.float64).reshape(-1, 2)
        cells = np.floor(np.where(np.isfinite(flat), flat, -1.0) / self._cell)
        rows, columns = self.seconds.shape
        inside = (cells >= 0).all(axis=1) & (cells < (columns, rows)).all(axis=1)
        self.outside += int(np.count_nonzero(~inside))
        column, row = cells[inside].astype(np.intp).T
        np.add.at(self.seconds, (row, column), min((captured_ns - before) / 1e9, self.MAX_STEP_S))

    def take(self) -> NDArray[np.float64]:
        """The seconds since the last call, (rows, columns); the map is then empty."""
        taken, self.seconds = self.seconds, np.zeros_like(self.seconds)
        return taken

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON values and arrays."""
        return {"seconds": self.seconds.copy(), "outside": self.outside, "time_ns": self._time_ns}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `snapshot` of a map of the same plan; that of another one is left out."""
        if state["seconds"].shape == self.seconds.shape:
            self.seconds = np.array(state["seconds"], np.float64)
            self.outside, self._time_ns = int(state["outside"]), state["time_ns"]
