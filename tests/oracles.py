"""Slow plain-NumPy twins, written from the definitions; nothing here imports the package."""

import itertools
import math

import mpmath
import numpy as np
from scipy.integrate import dblquad, quad
from scipy.linalg import sqrtm
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import logsumexp, softmax

LOG_E = math.log2(math.e)


# Discrete sources ----------------------------------------------------------------------------------------------------


def plogq(p, q):
    """Σ p log q in bits, 0 log 0 = 0."""
    p, q = np.broadcast_arrays(np.asarray(p, float), np.asarray(q, float))
    return float(np.sum(p[p > 0] * np.log2(q[p > 0])))


def entropy(p):
    return -plogq(p, p)


def mutual_information(p, channel):
    joint = np.asarray(p)[:, None] * np.asarray(channel)
    return (
        plogq(joint, joint) - plogq(joint.sum(axis=1), joint.sum(axis=1)) - plogq(joint.sum(axis=0), joint.sum(axis=0))
    )


def used_rows(p, d):
    """Source letters with mass, and distortion above the least of each row."""
    p, d = np.asarray(p, float), np.asarray(d, float)
    p, d = p[p > 0], d[p > 0]
    least = d.min(axis=1)
    return p, d - least[:, None], float(p @ least)


def kernel(excess, slope):
    with np.errstate(invalid="ignore"):
        exponent = np.where(excess == 0, 0.0, -slope * excess)
        exponent = np.where(np.isinf(excess), -np.inf, exponent)
    return np.exp2(exponent)


def point_of(p, d, q, slope):
    """Channel rate, its distortion, and the certified lower bound as a function of D, from q and the slope alone."""
    p, excess, least = used_rows(p, d)
    a = kernel(excess, slope)
    z = a @ q
    channel = q * a / z[:, None]
    c = a.T @ (p / z)
    cost = float(p @ np.sum(np.where(channel > 0, np.where(np.isfinite(excess), excess, 0.0), 0.0) * channel, axis=1))

    def lower(D):
        # A slope of infinity certifies the rate at the least distortion only.
        above = 0.0 if math.isinf(slope) else slope * (D - least)
        return max(-plogq(p, z) - float(np.log2(c.max())) - above, 0.0)

    return mutual_information(p, channel), least + cost, lower


def least_distortion_channel(p, d):
    _, excess, _ = used_rows(p, d)
    return (excess == 0) / (excess == 0).sum(axis=1, keepdims=True)


def blahut_arimoto(p, d, slope, steps=20_000):
    """Textbook iteration from the uniform law: (rate, distortion, gap)."""
    p, excess, least = used_rows(p, d)
    a = kernel(excess, slope)
    q = np.full(a.shape[1], 1 / a.shape[1])
    for _ in range(steps):
        c = a.T @ (p / (a @ q))
        q = q * c
        if np.log2(c.max()) < 1e-14:
            break
    rate, distortion, lower = point_of(p, excess, q, slope)
    return rate, least + distortion, rate - lower(distortion)


def rate_at(p, d, D, *, bisections=45, steps=20_000):
    """(lower, upper) bounds of R(D): bisection on the slope, each by Blahut-Arimoto run long.

    The upper bound mixes the two channels on either side of D, which time-sharing allows.
    """
    low, high = 1e-6, 1e3
    lower = 0.0
    ends = {}
    for _ in range(bisections):
        slope = math.sqrt(low * high)
        rate, distortion, gap = blahut_arimoto(p, d, slope, steps)
        lower = max(lower, rate - gap + slope * (distortion - D))
        if distortion > D:
            low, ends["above"] = slope, (rate, distortion)
        else:
            high, ends["below"] = slope, (rate, distortion)
    (r1, d1), (r0, d0) = ends["above"], ends["below"]
    share = (d1 - D) / (d1 - d0)
    return lower, share * r0 + (1 - share) * r1


def rate_at_by_slsqp(p, d, D, more=()):
    """R(D) by handing the definition, the minimum of I over channels, to a general nonlinear solver.

    `more` holds functions of the channel that are to be >= 0 as well.
    """
    n, m = d.shape

    def information(x):
        joint = p[:, None] * np.maximum(x.reshape(n, m), 1e-300)
        ratio = joint / (p[:, None] * joint.sum(axis=0))
        return np.sum(joint * np.log2(ratio)), (p[:, None] * np.log2(ratio)).ravel()

    rows = np.kron(np.eye(n), np.ones(m))
    result = minimize(
        information,
        np.full(n * m, 1 / m),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * (n * m),
        constraints=[
            {"type": "eq", "fun": lambda x: rows @ x - 1, "jac": lambda x: rows},
            {
                "type": "ineq",
                "fun": lambda x: D - np.sum(p[:, None] * d * x.reshape(n, m)),
                "jac": lambda x: -(p[:, None] * d).ravel(),
            },
            *({"type": "ineq", "fun": lambda x, f=f: f(x.reshape(n, m))} for f in more),
        ],
        options={"ftol": 1e-13, "maxiter": 1000},
    )
    assert result.success, result.message
    return result.fun


def dual_rate_at(p, d, D):
    """R(D) by handing its dual to a general nonlinear solver: no infinite gradients, as the sparse primal has.

    max Σ p u - s D over u and s >= 0 with Σ_x p_x e^(u_x - s d_xy) <= 1 for every y, a point of which is a lower bound.
    """
    used = p > 0
    p, d = p[used], d[used]

    def excess(v):
        return -logsumexp(np.log(p)[:, None] + v[:-1, None] - v[-1] * d, axis=0)

    def slopes(v):
        posterior = softmax(np.log(p)[:, None] + v[:-1, None] - v[-1] * d, axis=0)
        return np.column_stack([-posterior.T, np.sum(posterior * d, axis=0)])

    gradient = -np.append(p, -D)
    result = minimize(
        lambda v: (gradient @ v, gradient),
        np.append(np.zeros(len(p)), 0.0),
        jac=True,
        method="SLSQP",
        bounds=[(None, None)] * len(p) + [(0, None)],
        constraints=[{"type": "ineq", "fun": excess, "jac": slopes}],
        options={"ftol": 1e-13, "maxiter": 1000},
    )
    # Lowering every u by the largest violation makes the point feasible, and the bound true, wherever it ended.
    return float(-result.fun + min(excess(result.x).min(), 0.0)) / np.log(2)


def capacity(channel, steps=100_000):
    """(lower, upper) bounds of the capacity by Arimoto's iteration."""
    w = np.asarray(channel, float)
    p = np.full(len(w), 1 / len(w))
    for _ in range(steps):
        output = p @ w
        divergence = np.array([plogq(row, row) - plogq(row, output) for row in w])
        lower, upper = p @ divergence, divergence.max()
        if upper - lower < 1e-13:
            break
        p = p * np.exp2(divergence)
        p /= p.sum()
    return lower, upper


# Gaussian vectors and linear models ----------------------------------------------------------------------------------


def reverse_water_filling(variances, D):
    """(rate, level, distortions) with the level found by bisection."""
    v = np.asarray(variances, float)
    level = (
        v.max() if v.sum() <= D else brentq(lambda t: np.minimum(t, v).sum() - D, 0, v.max(), xtol=1e-300, rtol=1e-15)
    )
    return 0.5 * np.log2(np.maximum(v / level, 1)).sum() if level > 0 else 0.0, level, np.minimum(level, v)


def output_variances(weight_cov, input_cov):
    root = np.real(sqrtm(input_cov))
    return np.linalg.eigvalsh(root @ weight_cov @ root)


def linear_rate(weight_cov, input_cov, D):
    return reverse_water_filling(np.maximum(output_variances(weight_cov, input_cov), 0), D)[0]


def theorem_one(weight_cov, input_variances, D):
    """(bits, μ, D_i) of the paper's bound; every λ_i > 0 and Σ_W regular."""
    variances = np.diag(weight_cov)
    total = input_variances @ variances
    top = (input_variances * variances).max()

    def used(level):
        return input_variances @ np.minimum(level / input_variances, variances) - D

    level = top if total <= D else brentq(used, 0, top, xtol=1e-300, rtol=1e-15)
    errors = np.minimum(level / input_variances, variances)
    return 0.5 * np.linalg.slogdet(weight_cov)[1] * LOG_E - 0.5 * np.log2(errors).sum(), level, errors


def random_covariance(rng, m, rank=None):
    factor = rng.normal(size=(m, m if rank is None else rank))
    return factor @ factor.T / m


# ReLU ----------------------------------------------------------------------------------------------------------------


def plane(u, v, cov):
    """Norms and angle of u and v as X ~ N(0, cov) sees them."""
    factor = np.linalg.cholesky(cov)
    u, v = factor.T @ u, factor.T @ v
    norm_u, norm_v = np.linalg.norm(u), np.linalg.norm(v)
    u, v = u / norm_u, v / norm_v
    return norm_u, norm_v, 2 * math.atan2(np.linalg.norm(u - v), np.linalg.norm(u + v)), u, v, factor


def relu_kernel(u, v, cov):
    """E ReLU(uᵀX) ReLU(vᵀX) by quadrature over the plane of u and v, in polar coordinates."""
    norm_u, norm_v, angle, *_ = plane(u, v, cov)
    value, _ = dblquad(
        lambda r, phi: math.cos(phi) * math.cos(phi - angle) * r**3 * math.exp(-r * r / 2) / (2 * math.pi),
        angle - math.pi / 2,
        math.pi / 2,
        0,
        12,  # what lies beyond has weight below e^-72
        epsabs=1e-13,
        epsrel=1e-12,
    )
    return norm_u * norm_v * value


def relu_distortion(w, w_hat, cov, output_weights=None):
    """E‖f_w(X) - f_ŵ(X)‖² from kernels of all pairs of neurons."""
    w, w_hat = np.atleast_2d(w), np.atleast_2d(w_hat)
    v = np.ones((1, 1)) if output_weights is None else np.asarray(output_weights, float).reshape(len(w), -1)
    rows, signed = np.concatenate([w, w_hat]), np.concatenate([v, -v])
    total = 0.0
    for i, j in itertools.product(range(len(rows)), repeat=2):
        if np.any(rows[i]) and np.any(rows[j]):
            total += signed[i] @ signed[j] * relu_kernel(rows[i], rows[j], cov)
    return total


def relu_importance(w, cov, output_weights=None):
    """E ∇f ∇fᵀ by quadrature over the angle in the plane of each pair of neurons."""
    w = np.atleast_2d(w)
    h, m = w.shape
    v = np.ones((1, 1)) if output_weights is None else np.asarray(output_weights, float).reshape(h, -1)
    total = np.zeros((h, m, h, m))
    for i, j in itertools.product(range(h), repeat=2):
        _, _, angle, a, b, factor = plane(w[i], w[j], cov)
        across = b - (a @ b) * a
        norm = np.linalg.norm(across)
        if norm < 1e-12:  # parallel or opposite: the half space of a, or nothing
            block = 0.5 * cov if a @ b > 0 else np.zeros((m, m))
        else:
            across = across / norm
            axes = np.stack([a, across])
            # E R² = 2 in the plane; E 1 = the share of the wedge for every direction out of it.
            inside = np.array(
                [
                    [
                        quad(lambda t, f=f: f(t) / math.pi, angle - math.pi / 2, math.pi / 2, epsabs=1e-14)[0]
                        for f in row
                    ]
                    for row in [
                        [lambda t: math.cos(t) ** 2, lambda t: math.cos(t) * math.sin(t)],
                        [lambda t: math.cos(t) * math.sin(t), lambda t: math.sin(t) ** 2],
                    ]
                ]
            )
            share = (math.pi - angle) / (2 * math.pi)
            white = axes.T @ inside @ axes + share * (np.eye(m) - axes.T @ axes)
            block = factor @ white @ factor.T
        total[i, :, j, :] = (v[i] @ v[j]) * block
    return total.reshape(h * m, h * m)


def relu_outputs(w, inputs, output_weights=None):
    """f_w on samples (n, m), as (n, outputs)."""
    w = np.atleast_2d(w)
    v = np.ones((1, 1)) if output_weights is None else np.asarray(output_weights, float).reshape(len(w), -1)
    return np.maximum(inputs @ w.T, 0) @ v


def neuron_distortion_in_many_digits(w, w_hat, cov, digits=60):
    """One neuron, the arc-cosine formula as written, but with digits to spare."""
    with mpmath.workdps(digits):
        w, w_hat, cov = (mpmath.matrix(np.asarray(x, float).tolist()) for x in (w, w_hat, cov))

        def inner(a, b):
            return (a.T * cov * b)[0]

        norm, norm_hat = mpmath.sqrt(inner(w, w)), mpmath.sqrt(inner(w_hat, w_hat))
        cosine = inner(w, w_hat) / (norm * norm_hat)
        angle = mpmath.acos(max(min(cosine, mpmath.mpf(1)), mpmath.mpf(-1)))
        cross = norm * norm_hat * (mpmath.sin(angle) + (mpmath.pi - angle) * cosine) / (2 * mpmath.pi)
        return float(norm**2 / 2 + norm_hat**2 / 2 - 2 * cross)


# Compression by brute force ------------------------------------------------------------------------------------------


def masks(k, keep):
    """Every 0/1 vector with `keep` ones, supports in lexicographic order."""
    return np.array([[1.0 if i in kept else 0.0 for i in range(k)] for kept in itertools.combinations(range(k), keep)])


def partitions(k, cells):
    """Every way to put k things in exactly `cells` unlabeled cells, as tuples of cell numbers by first use."""
    found = [()]
    for _ in range(k):
        found = [(*labels, cell) for labels in found for cell in range(min(max(labels, default=-1) + 2, cells))]
    return [labels for labels in found if max(labels) == cells - 1]


def central_difference(function, x, step):
    """Gradient of a scalar function of an array, two sides, entry by entry."""
    x = np.asarray(x, float)
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        move = np.zeros_like(x)
        move[index] = step
        gradient[index] = (function(x + move) - function(x - move)) / (2 * step)
    return gradient


def one_codebook_rate(eigenvalues, distortion):
    """Bits per weight of random coding of N(0, 1) weights in every metric with one codebook N(0, s I), at the best s.

    In nats max_t mean[½ ln(1 + 2tλs) + tλ/(1 + 2tλs)] - tD: the exponent of the chance that a codeword is within D.
    """
    spectrum = np.asarray(eigenvalues)

    def nats(log_s):
        def negative(log_t):
            t, s = np.exp(log_t), np.exp(log_s)
            near = 1 + 2 * t * spectrum * s
            return t * distortion - np.mean(0.5 * np.log(near) + t * spectrum / near)

        return -minimize_scalar(negative, bounds=(-15, 25), method="bounded", options={"xatol": 1e-9}).fun

    return minimize_scalar(nats, bounds=(-8, 1), method="bounded", options={"xatol": 1e-6}).fun / np.log(2)


def successive(weights, metric, pull, steps):
    """Scalar labels of (m, k) weights, from the last input to the first, each at the best place given those after it.

    The target of an input is what least squares over it and all inputs before it, still free, would have.
    """
    targets = pull @ weights
    root = np.linalg.cholesky(metric).T
    labels = np.zeros(weights.shape)
    for column in range(weights.shape[1]):
        lost = np.zeros(len(weights))  # target - value of what is rounded
        for i in reversed(range(len(weights))):
            free, *_ = np.linalg.lstsq(root[:, : i + 1], -root @ lost)
            labels[i, column] = np.round((targets[i, column] - free[i]) / steps[i])
            lost[i] = targets[i, column] - labels[i, column] * steps[i]
    return labels
