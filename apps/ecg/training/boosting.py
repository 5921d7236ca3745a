"""Gradient boosted trees: fitted by LightGBM, stored as plain arrays for the ONNX graph and for predictions.

Friedman (2001); Ke et al. (2017) for the implementation. LightGBM is imported for fitting only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import TrainingError

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Hyperparameters of the trees, chosen by cross-validation over DS1's patients."""

    rounds: int = 150
    rate: float = 0.07
    leaves: int = 8
    min_rows: int = 30
    shrinkage: float = 10.0
    columns: float = 0.6
    rows: float = 0.7


@dataclass(frozen=True, slots=True)
class Trees:
    """Nodes of all trees, one entry each: ``score[target] += value`` at the leaf that a row falls into.

    A row goes to ``yes`` where ``row[feature] <= threshold``, else to ``no`` (numbers of nodes within the
    tree). A leaf has feature -1.
    """

    targets: int
    tree: NDArray[np.int64]
    node: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    yes: NDArray[np.int64]
    no: NDArray[np.int64]
    value: NDArray[np.float32]
    target: NDArray[np.int64]


def fit_trees(
    rows: Rows,
    truth: NDArray[np.integer],
    weights: NDArray[Any],
    classes: int,
    recipe: Recipe,
    seed: int,
    columns: NDArray[np.integer],
) -> Trees:
    """Trees for ``classes`` classes (2: one score, the log odds of class 1) on some of the features.

    ``rows`` is ``(n, features)``; ``columns`` are the features in use. Raises `TrainingError` if LightGBM
    cannot be loaded.
    """
    try:
        import lightgbm
    except (ImportError, OSError) as error:  # OSError: its library lacks OpenMP's
        raise TrainingError(
            f"LightGBM cannot be loaded ({error}): pip install 'edgeloop[train]'; on Debian and Ubuntu also "
            "apt-get install libgomp1"
        ) from error

    parameters = {
        "objective": "binary" if classes == 2 else "multiclass",
        "learning_rate": recipe.rate,
        "num_leaves": recipe.leaves,
        "min_child_samples": recipe.min_rows,
        "lambda_l2": recipe.shrinkage,
        "feature_fraction": recipe.columns,
        "bagging_fraction": recipe.rows,
        "bagging_freq": 1,
        "max_bin": 63,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "verbose": -1,
    }
    if classes > 2:
        parameters["num_class"] = classes
    data = lightgbm.Dataset(
        np.ascontiguousarray(rows[:, columns]), label=truth, weight=weights, free_raw_data=True
    )
    grown = lightgbm.train(parameters, data, recipe.rounds)
    return _trees(grown.dump_model(), 1 if classes == 2 else classes, columns)


def _trees(dumped: Mapping[str, Any], targets: int, columns: NDArray[np.integer]) -> Trees:
    nodes: list[tuple[Any, ...]] = []
    for number, tree in enumerate(dumped["tree_info"]):
        nodes += [(number, *node, number % targets) for node in _nodes(tree["tree_structure"])]
    tree, node, feature, threshold, yes, no, value, target = zip(*nodes, strict=True)
    return Trees(
        targets,
        np.array(tree),
        np.array(node),
        np.where(np.array(feature) >= 0, columns[np.array(feature)], -1),
        _float32_under(np.array(threshold)),
        np.array(yes),
        np.array(no),
        np.array(value, np.float32),
        np.array(target),
    )


def _nodes(root: Mapping[str, Any]) -> Iterator[tuple[int, int, float, int, int, float]]:
    """``(node, feature, threshold, yes, no, value)`` of a tree's nodes, the root first."""
    waiting, count = [(0, root)], 1
    while waiting:
        number, node = waiting.pop(0)
        if "leaf_value" in node and "split_feature" not in node:
            yield number, -1, 0.0, 0, 0, float(node["leaf_value"])
            continue
        waiting += [(count, node["left_child"]), (count + 1, node["right_child"])]
        yield number, int(node["split_feature"]), float(node["threshold"]), count, count + 1, 0.0
        count += 2


def _float32_under(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above each value, so that ``<=`` on float32 rows decides as in float64."""
    found = values.astype(np.float32)
    above = found.astype(np.float64) > values
    found[above] = np.nextafter(found[above], np.float32(-np.inf))
    return found


def joined(parts: list[Trees]) -> Trees:
    """The mean of several ensembles of trees as one."""
    counts = np.cumsum([0] + [int(part.tree.max()) + 1 for part in parts])
    return Trees(
        targets=parts[0].targets,
        tree=np.concatenate([part.tree + count for part, count in zip(parts, counts, strict=False)]),
        node=np.concatenate([part.node for part in parts]),
        feature=np.concatenate([part.feature for part in parts]),
        threshold=np.concatenate([part.threshold for part in parts]),
        yes=np.concatenate([part.yes for part in parts]),
        no=np.concatenate([part.no for part in parts]),
        value=np.concatenate([part.value / len(parts) for part in parts]).astype(np.float32),
        target=np.concatenate([part.target for part in parts]),
    )


def scores(trees: Trees, rows: Rows) -> NDArray[np.float64]:
    """Sum of the leaves that each row falls into, ``(n, targets)``, as the graph gives it."""
    found = np.zeros((len(rows), trees.targets))
    starts = np.flatnonzero(trees.node == 0)
    where = np.arange(len(rows))
    for start in starts:
        at = np.full(len(rows), start)
        going = trees.feature[at] >= 0
        while going.any():
            here, which = at[going], where[going]
            goes = rows[which, trees.feature[here]] <= trees.threshold[here]
            at[going] = start + np.where(goes, trees.yes[here], trees.no[here])
            going = trees.feature[at] >= 0
        found[:, trees.target[start]] += trees.value[at]
    return found
