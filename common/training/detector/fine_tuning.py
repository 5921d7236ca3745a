"""Fine-tuning of the detector by Ultralytics' trainer, on CPUs, resumable after every epoch.

The first layers stay as they are, which also saves their share of the backward pass. Images are those of
`write_yolo`. Needs the extra ``train-vision``; weights that come from it are AGPL-3.0.
"""

# PyTorch and Ultralytics are imported where they are installed, and are partly typed.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedBaseClass=false

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import TrainingError
from common.vision.detections import CLASSES

RUN = "run"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of a fine-tuning. Rates are of SGD with momentum 0.9 on batches of ``batch``, accumulated to
    ``nominal_batch``; the rate falls along a cosine to a tenth. An epoch takes ``images_per_epoch`` of the
    images, drawn by ``seed`` and epoch, so that checkpoints are frequent."""

    epochs: int = 8
    images_per_epoch: int = 320
    size_px: int = 416
    batch: int = 8
    nominal_batch: int = 16
    rate: float = 2e-3
    warmup_epochs: float = 1.0
    frozen_layers: int = 11
    mosaic: float = 0.3
    threads: int = 2
    seed: int = 0


def fine_tune(
    start: Path,
    train: Path,
    held_out: Path,
    output: Path,
    recipe: Recipe,
    progress: Callable[[float, str], None] = lambda _fraction, _message: None,
) -> tuple[Path, ...]:
    """Checkpoints after each epoch, oldest first; a run that was cut off goes on from its last one.

    ``train`` and ``held_out`` are folders of `write_yolo`, ``output`` keeps the checkpoints. Raises
    `TrainingError` without the extra; what ``progress`` raises ends the training.
    """
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    try:
        import torch
        from ultralytics import YOLO
    except ImportError as error:
        raise TrainingError(
            f"{error}: fine-tuning needs the extra: pip install 'edgeloop[train-vision]'"
        ) from None

    checkpoints = output / RUN / "weights"
    finished = _checkpoints(checkpoints)
    if len(finished) >= recipe.epochs:
        return finished[: recipe.epochs]
    output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.threads)
    description = _describe(train, held_out, output)
    last = checkpoints / "last.pt"
    model = YOLO(str(last if last.is_file() else start))

    trainer = _subset_trainer(recipe, progress)
    if last.is_file():
        model.train(trainer=trainer, resume=True)
    else:
        model.train(trainer=trainer, **_arguments(recipe, description, output))
    return _checkpoints(checkpoints)


def _subset_trainer(recipe: Recipe, progress: Callable[[float, str], None]) -> Any:
    """Ultralytics' trainer with epochs of ``images_per_epoch`` images, and with progress after each batch."""
    import torch
    from ultralytics.data.build import InfiniteDataLoader
    from ultralytics.models.yolo.detect import DetectionTrainer

    class Subset(torch.utils.data.Sampler):
        """Indices of an epoch, from seed and epoch alone: a resumed run draws what it would have drawn."""

        def __init__(self, images: int) -> None:
            self.epoch, self._images = 0, images

        def __iter__(self) -> Any:
            order = np.random.default_rng((recipe.seed, self.epoch)).permutation(self._images)
            return iter(order[: len(self)].tolist())

        def __len__(self) -> int:
            return min(recipe.images_per_epoch, self._images)

    class SubsetTrainer(DetectionTrainer):
        """Checkpoints are judged by our own evaluation afterwards, not by the trainer."""

        def validate(self) -> Any:
            return {}, None

        def final_eval(self) -> None:
            pass

        def get_dataloader(
            self, dataset_path: Any, batch_size: int = 16, rank: int = 0, mode: str = "train"
        ) -> Any:
            if mode != "train":
                return super().get_dataloader(dataset_path, batch_size, rank, mode)
            dataset = self.build_dataset(dataset_path, mode, batch_size)
            return InfiniteDataLoader(
                dataset=dataset,
                batch_size=batch_size,
                sampler=Subset(len(dataset)),
                num_workers=0,
                collate_fn=dataset.collate_fn,
            )

    done = 0

    def begin(trainer: Any) -> None:
        nonlocal done
        done = 0
        trainer.train_loader.sampler.epoch = trainer.epoch

    def report(trainer: Any) -> None:
        nonlocal done
        done += 1
        share = (trainer.epoch + done / len(trainer.train_loader)) / recipe.epochs
        progress(min(share, 1.0), f"epoch {trainer.epoch + 1} of {recipe.epochs}")

    def make(*arguments: Any, **named: Any) -> Any:
        trainer = SubsetTrainer(*arguments, **named)
        trainer.add_callback("on_train_epoch_start", begin)
        trainer.add_callback("on_train_batch_end", report)
        return trainer

    return make


def _arguments(recipe: Recipe, description: Path, output: Path) -> dict[str, Any]:
    return {
        "data": str(description),
        "epochs": recipe.epochs,
        "imgsz": recipe.size_px,
        "batch": recipe.batch,
        "nbs": recipe.nominal_batch,
        "optimizer": "SGD",
        "lr0": recipe.rate,
        "lrf": 0.1,
        "cos_lr": True,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "warmup_epochs": recipe.warmup_epochs,
        "warmup_bias_lr": 0.0,
        "freeze": recipe.frozen_layers,
        "mosaic": recipe.mosaic,
        "close_mosaic": 1,
        "scale": 0.4,
        "hsv_v": 0.5,
        "hsv_s": 0.5,
        "project": str(output.resolve()),
        "name": RUN,
        "exist_ok": True,
        "device": "cpu",
        "workers": 0,
        "amp": False,
        "val": False,
        "plots": False,
        "save_period": 1,
        "seed": recipe.seed,
        "deterministic": True,
    }


def _describe(train: Path, held_out: Path, output: Path) -> Path:
    path = output / "data.yaml"
    names = "".join(f"  {index}: {name}\n" for index, name in enumerate(CLASSES))
    path.write_text(
        f"train: {(train / 'images').resolve()}\nval: {(held_out / 'images').resolve()}\nnames:\n{names}",
        "utf-8",
    )
    return path


def _checkpoints(folder: Path) -> tuple[Path, ...]:
    """``epoch<n>.pt`` by number."""
    numbered = {int(path.stem[5:]): path for path in folder.glob("epoch*.pt") if path.stem[5:].isdigit()}
    return tuple(numbered[number] for number in sorted(numbered))
