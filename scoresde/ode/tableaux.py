"""Embedded Runge-Kutta pairs, and their step."""

from dataclasses import dataclass

import numpy as np

from .parts import Method, State, Trial, shaped


@dataclass(frozen=True)
class Tableau(Method):
    """An embedded pair: k_i = f(t + c_i h, y + h sum_j a_ij k_j), y_1 = y + h sum_i b_i k_i, error = h sum_i e_i k_i.

    Arguments:
        order: with which the error scales.
        a, c: without the first row; the last row of a is b: the last stage is the next step's first one.
        e: the weights of the error.  Where they do not reach the last stage, that is evaluated after accepted steps
            alone.
        e_low: a second estimate, of lower order: the error is then |e|^2 / sqrt(|e|^2 + 0.01 |e_low|^2).
    """

    order: int
    a: tuple[tuple[float, ...], ...]
    c: tuple[float, ...]
    e: tuple[float, ...]
    e_low: tuple[float, ...] | None = None

    @property
    def cost(self) -> int:
        """Evaluations of a trial."""
        return len(self.e) - 1

    @property
    def after(self) -> int:
        """Evaluations once a trial is accepted."""
        return len(self.a) - self.cost

    def trial(self, f, t, t_new, y, k, memory, rows, norm):
        h, ks = t_new - t, [k]
        for a, c in zip(self.a, self.c, strict=True):
            y_new = _combine(h, a, ks, y)
            if len(ks) < len(self.e):
                ks.append(f(t_new if c == 1.0 else t + c * h, y_new, rows))
        error = norm(_combine(h, self.e, ks), y_new)
        if self.e_low is not None:
            low = np.asarray(norm(_combine(h, self.e_low, ks), y_new))
            error = np.asarray(error)
            error = error * (error / np.maximum(np.hypot(error, 0.1 * low), 1e-30))
        return Trial(y_new, None if self.after else ks[-1], error, self.order, error, self.order, None)


def _combine(h: np.ndarray, weights: tuple[float, ...], ks: list[State], y: State | None = None) -> State:
    """h sum_i w_i k_i, plus y if it is given, for every part of the state."""
    out = []
    for j in range(len(ks[0])):
        used = [(w, k[j]) for w, k in zip(weights, ks, strict=False) if w != 0.0]
        total = used[0][1] * used[0][0]
        for w, k in used[1:]:
            total = total.add_(k, alpha=w)
        total = total.mul_(shaped(h, total))
        out.append(total if y is None else y[j] + total)
    return tuple(out)


# Bogacki, Shampine (1989), A 3(2) pair of Runge-Kutta formulas.
BS32 = Tableau(
    order=3,
    a=((1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    c=(1 / 2, 3 / 4, 1.0),
    e=(5 / 72, -1 / 12, -1 / 9, 1 / 8),
)

# Dormand, Prince (1980), A family of embedded Runge-Kutta formulae.
DOPRI5 = Tableau(
    order=5,
    a=(
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    c=(1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    e=(71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
)

# Tsitouras (2011), Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying assumption.
TSIT5 = Tableau(
    order=5,
    a=(
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
        (0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774),
    ),
    c=(0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0),
    e=(
        -0.00178001105222577714,
        -0.0008164344596567469,
        0.007880878010261995,
        -0.1447110071732629,
        0.5823571654525552,
        -0.45808210592918697,
        0.015151515151515152,
    ),
)

# Hairer, Norsett, Wanner (1993), Solving Ordinary Differential Equations I, section II.5: Dormand-Prince 8(5,3).
# fmt: off
DOP853 = Tableau(
    order=8,
    a=(
        (0.05260015195876773,),
        (0.0197250569845379, 0.0591751709536137),
        (0.02958758547680685, 0.0, 0.08876275643042054),
        (0.2413651341592667, 0.0, -0.8845494793282861, 0.924834003261792),
        (0.037037037037037035, 0.0, 0.0, 0.17082860872947386, 0.12546768756682242),
        (0.037109375, 0.0, 0.0, 0.17025221101954405, 0.06021653898045596, -0.017578125),
        (
            0.03709200011850479, 0.0, 0.0, 0.17038392571223998, 0.10726203044637328, -0.015319437748624402,
            0.008273789163814023,
        ),
        (
            0.6241109587160757, 0.0, 0.0, -3.3608926294469414, -0.868219346841726, 27.59209969944671,
            20.154067550477894, -43.48988418106996,
        ),
        (
            0.47766253643826434, 0.0, 0.0, -2.4881146199716677, -0.590290826836843, 21.230051448181193,
            15.279233632882423, -33.28821096898486, -0.020331201708508627,
        ),
        (
            -0.9371424300859873, 0.0, 0.0, 5.186372428844064, 1.0914373489967295, -8.149787010746927,
            -18.52006565999696, 22.739487099350505, 2.4936055526796523, -3.0467644718982196,
        ),
        (
            2.273310147516538, 0.0, 0.0, -10.53449546673725, -2.0008720582248625, -17.9589318631188, 27.94888452941996,
            -2.8589982771350235, -8.87285693353063, 12.360567175794303, 0.6433927460157636,
        ),
        (
            0.054293734116568765, 0.0, 0.0, 0.0, 0.0, 4.450312892752409, 1.8915178993145003, -5.801203960010585,
            0.3111643669578199, -0.1521609496625161, 0.20136540080403034, 0.04471061572777259,
        ),
    ),
    c=(
        0.05260015195876773, 0.0789002279381516, 0.1183503419072274, 0.2816496580927726, 0.3333333333333333, 0.25,
        0.3076923076923077, 0.6512820512820513, 0.6, 0.8571428571428571, 1.0, 1.0,
    ),
    e=(
        0.01312004499419488, 0.0, 0.0, 0.0, 0.0, -1.2251564463762044, -0.4957589496572502, 1.6643771824549864,
        -0.35032884874997366, 0.3341791187130175, 0.08192320648511571, -0.022355307863886294,
    ),
    e_low=(
        -0.18980075407240762, 0.0, 0.0, 0.0, 0.0, 4.450312892752409, 1.8915178993145003, -5.801203960010585,
        -0.4226823213237919, -0.1521609496625161, 0.20136540080403034, 0.02265179219836082,
    ),
)
# fmt: on
