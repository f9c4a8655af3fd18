"""One label's calibration slope and intercept, from a start that is near, with their influences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.measures.logistic import Floats, Line, fit_line, fit_offset, of_label, sigmoid

_NEAR = 3e-4  # a start that close needs one step only: the error left is about its square


def refined_slope(
    scores: Floats, cases: NDArray[np.bool_], start: tuple[float, float]
) -> tuple[float, Floats]:
    """One label's slope, and its influence, by one step from a start that is near.

    Args:
        scores, cases: [observed].
        start: slope and intercept, as the bins have them; where it is not near, all begins anew.

    >>> scores, cases = np.repeat([1.0, -1.0], 4), np.array([1, 1, 1, 0, 1, 0, 0, 0], bool)
    >>> round(refined_slope(scores, cases, (1.0985, 0.0))[0], 4)  # log(3)
    1.0986
    """
    slope, intercept = start
    of_slope = slope_influence(scores, cases, start) if np.isfinite(slope) else scores
    step = float(of_slope.sum())
    if abs(step) <= _NEAR * abs(slope):
        return slope + step, of_slope - step / len(of_slope)
    given = Line(np.array([slope]), np.array([intercept]))
    line = fit_line(of_label(scores, cases), given)
    slope, intercept = float(line.slope[0]), float(line.intercept[0])
    return slope, slope_influence(scores, cases, (slope, intercept))


def refined_offset(scores: Floats, cases: NDArray[np.bool_], start: float) -> tuple[float, Floats]:
    """One label's intercept of `fit_offset`, and its influence; see `refined_slope`.

    >>> round(refined_offset(np.zeros(4), np.array([1, 0, 0, 0], bool), -1.0985)[0], 4)  # -log(3)
    -1.0986
    """
    influence = offset_influence(scores, cases, start) if np.isfinite(start) else scores
    step = float(influence.sum())
    if abs(step) <= _NEAR:
        return start + step, influence - step / len(influence)
    offset = float(fit_offset(of_label(scores, cases), np.array([start]))[0])
    return offset, offset_influence(scores, cases, offset)


def slope_influence(scores: Floats, cases: NDArray[np.bool_], line: tuple[float, float]) -> Floats:
    """What each admission adds to the slope of one label's `fit_line`; [observed].

    The score equations' sandwich: H^-1 x (y - p), H being the information. NaN where that is zero:
    saturated scores tell nothing.

    >>> scores, cases = np.repeat([1.0, -1.0], 4), np.array([1, 1, 1, 0, 1, 0, 0, 0], bool)
    >>> slope_influence(scores, cases, (np.log(3), 0.0)).round(4)[:4]  # 0.25 / 1.5 and -0.75 / 1.5
    array([ 0.1667,  0.1667,  0.1667, -0.5   ])
    """
    chance = sigmoid(line[0] * scores + line[1])
    middle = scores - scores.mean()
    weight = chance * (1 - chance)
    h00, h01 = weight.sum(), weight @ middle
    information = h00 * ((weight * middle) @ middle) - h01**2
    if not information > 0:
        return np.full(len(scores), np.nan)
    middle = h00 * middle
    middle -= h01
    middle *= cases - chance
    middle /= information
    return middle


def offset_influence(scores: Floats, cases: NDArray[np.bool_], intercept: float) -> Floats:
    """What each admission adds to the intercept of one label's `fit_offset`; [observed].

    >>> cases = np.array([1, 0, 0, 0], bool)
    >>> offset_influence(np.zeros(4), cases, -np.log(3)).round(4)  # 0.75 / 0.75, -0.25 / 0.75
    array([ 1.    , -0.3333, -0.3333, -0.3333])
    """
    chance = sigmoid(scores + intercept)
    information = float(chance.sum() - chance @ chance)
    if not information > 0:
        return np.full(len(scores), np.nan)
    influence: Floats = (cases - chance) / information
    return influence
