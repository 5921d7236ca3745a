"""Procedural textures of what stands still: BGR images for a width and a height in metres."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
_PX_PER_M = 96
_MAX_PX = 2400


def draw_texture(name: str, width_m: float, height_m: float, colour: tuple[float, float, float]) -> Image:
    """The texture ``name``; the first row is the bottom. Raises `KeyError` for an unknown one."""
    scale = min(_PX_PER_M, _MAX_PX / max(width_m, height_m))
    size = (max(8, round(height_m * scale)), max(8, round(width_m * scale)))
    rng = np.random.default_rng(zlib.crc32(f"{name} {width_m:.2f} {height_m:.2f} {colour}".encode()))
    canvas = np.empty((*size, 3), np.float32)
    canvas[:] = colour
    _TEXTURES[name](canvas, scale, rng)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _clouds(shape: tuple[int, ...], cell_px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise of unit variance, ``(height, width, 1)``."""
    small = rng.standard_normal((int(shape[0] / cell_px) + 2, int(shape[1] / cell_px) + 2), np.float32)
    large = cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, np.float32)[..., None]


def _plain(canvas: NDArray[np.float32], scale: float, rng: np.random.Generator) -> None:
    canvas += 2.0 * _clouds(canvas.shape, scale * 0.3, rng)


def _plaster(canvas: NDArray[np.float32], scale: float, rng: np.random.Generator) -> None:
    canvas += 3.0 * _clouds(canvas.shape, scale * 0.8, rng) + rng.normal(0, 2, (*canvas.shape[:2], 1))
    canvas[: int(0.12 * scale)] *= 0.55  # skirting board


def _tiled(
    canvas: NDArray[np.float32], scale: float, rng: np.random.Generator, tile_m: float, joint: float
) -> None:
    pitch = tile_m * scale
    rows, columns = int(canvas.shape[0] / pitch) + 1, int(canvas.shape[1] / pitch) + 1
    tones = rng.normal(1.0, 0.025, (rows, columns, 1)).astype(np.float32)
    row = (np.arange(canvas.shape[0]) / pitch).astype(int)
    column = (np.arange(canvas.shape[1]) / pitch).astype(int)
    canvas *= tones[row[:, None], column[None]]
    canvas += 2.5 * _clouds(canvas.shape, scale * 0.25, rng)
    width = max(1, round(0.012 * scale))
    for number in range(rows):
        canvas[int(number * pitch) : int(number * pitch) + width] *= joint
    for number in range(columns):
        canvas[:, int(number * pitch) : int(number * pitch) + width] *= joint


def _tiles(canvas: NDArray[np.float32], scale: float, rng: np.random.Generator) -> None:
    _tiled(canvas, scale, rng, 0.6, 0.78)


def _pavement(canvas: NDArray[np.float32], scale: float, rng: np.random.Generator) -> None:
    _tiled(canvas, scale, rng, 0.45, 0.7)
    canvas += rng.normal(0, 5, (*canvas.shape[:2], 1))


def _asphalt(canvas: NDArray[np.float32], scale: float, rng: np.random.Generator) -> None:
    canvas += 5 * _clouds(canvas.shape, scale * 1.5, rng) + rng.normal(0, 6, (*canvas.shape[:2], 1))


def _grass(canvas: NDArray[np.float32], scale: float, rng: np.random.Generator) -> None:
    canvas += 12 * _clouds(canvas.shape, scale * 0.3, rng) + rng.normal(0, 12, (*canvas.shape[:2], 1))


def _mat(canvas: NDArray[np.float32], scale: float, rng: np.random.Generator) -> None:
    canvas += rng.normal(0, 7, (*canvas.shape[:2], 1))
    edge = max(1, round(0.05 * scale))
    for part in (canvas[:edge], canvas[-edge:], canvas[:, :edge], canvas[:, -edge:]):
        part *= 0.6


def _wood(canvas: NDArray[np.float32], scale: float, rng: np.random.Generator) -> None:
    grain = _clouds((max(8, canvas.shape[0] // 12), canvas.shape[1]), 3, rng)
    canvas += 9 * cv2.resize(grain, (canvas.shape[1], canvas.shape[0]))[..., None]
    board = max(4, round(0.14 * scale))
    canvas[::board] *= 0.7


def _rectangle(
    canvas: NDArray[np.float32], box: tuple[float, float, float, float], colour: NDArray[np.float64]
) -> None:
    x0, y0, x1, y1 = (round(value) for value in box)
    canvas[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = colour


_PACKS = np.array(
    [(60, 60, 190), (60, 120, 210), (190, 120, 60), (80, 160, 90), (210, 210, 215), (60, 190, 215),
     (140, 70, 110), (90, 90, 95), (200, 170, 110), (120, 150, 190)], float,
)  # fmt: skip


def _shelf(canvas: NDArray[np.float32], scale: float, rng: np.random.Generator) -> None:
    """Boards with rows of packages, price strips at their edges."""
    height, width = canvas.shape[:2]
    canvas *= 0.5
    pitch = 0.38 * scale
    level = 0.1 * scale
    while level < height:
        x = 0.02 * scale
        while x < width:
            kind = (_PACKS[rng.integers(len(_PACKS))] * 0.45 + 78) * rng.uniform(0.85, 1.1)
            wide, high = rng.uniform(0.07, 0.18) * scale, rng.uniform(0.55, 0.85) * pitch
            for _ in range(int(rng.integers(1, 5))):
                if x + wide >= width:
                    break
                _rectangle(canvas, (x, level, x + wide - 1, level + high), kind)
                label = _PACKS[rng.integers(len(_PACKS))] * 0.5 + 110
                _rectangle(
                    canvas, (x + wide * 0.15, level + high * 0.3, x + wide * 0.85, level + high * 0.65), label
                )
                x += wide
            x += 0.01 * scale
        _rectangle(canvas, (0, level - 0.05 * scale, width, level), np.array([200, 205, 210.0]))
        for tag in np.arange(0.1 * scale, width, 0.35 * scale):
            _rectangle(
                canvas,
                (tag, level - 0.045 * scale, tag + 0.07 * scale, level - 0.008 * scale),
                np.array([120, 235, 250.0]),
            )
        level += pitch


def _goods(canvas: NDArray[np.float32], scale: float, rng: np.random.Generator) -> None:
    for _ in range(int(canvas.shape[0] * canvas.shape[1] / scale**2 * 40)):
        x, y = rng.uniform(0, canvas.shape[1]), rng.uniform(0, canvas.shape[0])
        size = rng.uniform(0.06, 0.16, 2) * scale
        _rectangle(
            canvas,
            (x, y, x + size[0], y + size[1]),
            _PACKS[rng.integers(len(_PACKS))] * rng.uniform(0.7, 1.1),
        )


def _leaves(canvas: NDArray[np.float32], scale: float, rng: np.random.Generator) -> None:
    canvas *= 1 + 0.35 * _clouds(canvas.shape, max(2.0, scale * 0.06), rng)


def _fascia(canvas: NDArray[np.float32], scale: float, rng: np.random.Generator) -> None:
    _plain(canvas, scale, rng)
    height, width = canvas.shape[:2]
    _rectangle(canvas, (0, 0, width, 0.06 * scale), np.array([110, 108, 106.0]))
    _rectangle(
        canvas,
        (width / 2 - 0.5 * scale, height * 0.2, width / 2 + 0.5 * scale, height * 0.55),
        np.array([90, 150, 40.0]),
    )
    for x in np.linspace(-0.3, 0.3, 4):
        _rectangle(
            canvas,
            (width / 2 + (x - 0.05) * scale, height * 0.3, width / 2 + (x + 0.05) * scale, height * 0.45),
            np.array([245, 245, 245.0]),
        )


def _facade(canvas: NDArray[np.float32], scale: float, rng: np.random.Generator) -> None:
    """Houses with windows, shop fronts at the ground."""
    height, width = canvas.shape[:2]
    x = 0.0
    while x < width:
        wide = rng.uniform(4.5, 8.0) * scale
        tone = np.array(
            [(150, 170, 190), (170, 190, 205), (120, 140, 175), (190, 190, 190), (140, 160, 170)][
                rng.integers(5)
            ],
            float,
        )
        _rectangle(canvas, (x, 0, x + wide, height), tone * rng.uniform(0.75, 1.0))
        _rectangle(
            canvas,
            (x + 0.4 * scale, 0.5 * scale, x + wide - 0.4 * scale, 2.6 * scale),
            np.array([95, 88, 80.0]),
        )
        _rectangle(
            canvas,
            (x + 0.2 * scale, 2.8 * scale, x + wide - 0.2 * scale, 3.2 * scale),
            _PACKS[rng.integers(len(_PACKS))],
        )
        for floor in np.arange(4.0 * scale, height, 2.9 * scale):
            for window in np.arange(x + 0.7 * scale, x + wide - 1.2 * scale, 1.7 * scale):
                _rectangle(
                    canvas,
                    (window - 4, floor - 4, window + 1.0 * scale + 4, floor + 1.5 * scale + 4),
                    np.array([225, 228, 230.0]),
                )
                _rectangle(
                    canvas,
                    (window, floor, window + 1.0 * scale, floor + 1.5 * scale),
                    np.array([120, 105, 90.0]) * rng.uniform(0.7, 1.3),
                )
        _rectangle(canvas, (x, 0, x + 3, height), tone * 0.5)
        x += wide
    canvas += 4 * _clouds(canvas.shape, scale * 0.5, rng)


def _street(canvas: NDArray[np.float32], scale: float, rng: np.random.Generator) -> None:
    _facade(canvas, scale, rng)
    canvas[:] = cv2.GaussianBlur(canvas, (0, 0), 0.05 * scale)


_TEXTURES: dict[str, Callable[[NDArray[np.float32], float, np.random.Generator], None]] = {
    "plain": _plain, "plaster": _plaster, "tiles": _tiles, "pavement": _pavement, "asphalt": _asphalt,
    "grass": _grass, "mat": _mat, "wood": _wood, "shelf": _shelf, "goods": _goods, "leaves": _leaves,
    "fascia": _fascia, "facade": _facade, "street": _street,
}  # fmt: skip
