"""What the exact theory of deep linear networks costs, beside a plain loop and beside
one simulated network.

    python -m benchmarks.deep_linear [--dim 2000]

`plain_loop` is the response form of the same equations as they stand on paper, in
NumPy, with every vector a row of coefficients over all innovations. It shares no code
with the library, and the tests compare the two.
"""

import argparse
import time

import numpy as np
import pandas as pd

from experiments import protocol


def plain_loop(
    hidden_layers,
    width_ratio,
    sample_ratio,
    gamma0,
    init_variance,
    label_noise,
    learning_rate,
    steps,
    parameterization="mup",
    dtype=float,
):
    """Train loss, test loss, and Grams and responses by layer. With dtype=complex,
    parameters may be complex.

    h[l] and g[l] are pairs (over the innovations u of M_{l-1} h^{l-1}, over the
    innovations r of M_l^T g^{l+1}); the readout is over w(0) instead of r, the input
    space over beta, r of X and r of W^0.
    """
    L, nu, alpha, variance, T = (
        hidden_layers,
        width_ratio,
        sample_ratio,
        init_variance,
        steps + 1,
    )
    gamma = gamma0 * nu**0.5 if parameterization == "mup" else gamma0
    kappa, scale = learning_rate * gamma / nu**0.5, 1 / (gamma * nu**0.5)
    aspect = [nu] + [1.0] * (L - 1)

    def zeros(*shape):
        return np.zeros(shape, dtype)

    h_u, h_r, g_u, g_r, H, G = ([zeros(T, T) for _ in range(L + 1)] for _ in range(6))
    h_w, g_w = zeros(T), zeros(T)
    d_beta, d_x, v_beta, v_x, v_r = (
        zeros(T),
        zeros(T, T),
        zeros(T),
        zeros(T, T),
        zeros(T, T),
    )
    Delta_u, Delta_noise, V, E = zeros(T, T), zeros(T), zeros(T, T), zeros(T, T)
    for t in range(T):
        past, now = slice(0, t), slice(0, t + 1)

        def gram(matrix, *parts, t=t, now=now):
            """<x_s x_t> for s <= t, x = sum of parts (coefficients, covariance of their
            innovations).
            """
            row = sum(
                x[now, now] @ (c[now, now] @ x[t, now])
                if np.ndim(c) == 2
                else x[now] * x[t] * c
                for x, c in parts
            )
            matrix[t, now] = matrix[now, t] = row

        g_w[t] = 1 if t == 0 else g_w[t - 1] + kappa * h_w[t - 1]
        if t:
            g_u[L][t] = g_u[L][t - 1] + kappa * h_u[L][t - 1]
        gram(G[L], (g_w, variance), (g_u[L], variance * H[L - 1]))
        for l in reversed(range(L)):
            weight = aspect[l] * (
                variance * g_u[l + 1][t, past] + kappa * G[l + 1][t, past]
            )
            g_r[l][t, past] = weight @ h_r[l][past, past]
            g_r[l][t, t] = 1
            if l:
                g_u[l][t, past] = weight @ h_u[l][past, past]
                gram(
                    G[l],
                    (g_u[l], variance * H[l - 1]),
                    (g_r[l], variance * aspect[l] * G[l + 1]),
                )
        v_beta[t] = 1 - scale * (weight @ d_beta[past])
        v_x[t, past], v_r[t] = -scale * (weight @ d_x[past, past]), -scale * g_r[0][t]
        gram(V, (v_beta, 1.0), (v_x, alpha * E), (v_r, variance * nu * G[1]))

        Delta_u[t, past] = v_x[t, past] @ Delta_u[past, past]
        Delta_u[t, t] = 1
        Delta_noise[t] = 1 + v_x[t, past] @ Delta_noise[past]
        gram(E, (Delta_noise, label_noise), (Delta_u, V))

        d_beta[t], d_x[t, now] = (
            Delta_u[t, now] @ v_beta[now],
            Delta_u[t, now] @ v_x[now, now],
        )
        d_x[t, t] += 1 / alpha
        h_r[0][t, now] = Delta_u[t, now] @ v_r[now, now]
        gram(H[0], (d_beta, 1.0), (d_x, alpha * E), (h_r[0], variance * nu * G[1]))
        for l in range(L):
            weight = variance * h_r[l][t, now] + kappa * np.append(H[l][t, past], 0)
            h_u[l + 1][t, now] = weight @ g_u[l + 1][now, now]
            h_u[l + 1][t, t] += 1
            if l + 1 < L:
                h_r[l + 1][t, now] = weight @ g_r[l + 1][now, now]
                gram(
                    H[l + 1],
                    (h_u[l + 1], variance * H[l]),
                    (h_r[l + 1], variance * G[l + 2]),
                )
            else:
                h_w[t] = weight @ g_w[now]
    return {
        "train_loss": np.diag(E),
        "test_loss": np.diag(V),
        "left_gram": G[1:],
        "right_gram": H[:L],
        "left_response": g_u[1:],
        "right_response": h_r[:L],
    }


SETTING = dict(
    hidden_layers=2,
    width_ratio=0.8,
    sample_ratio=1.5,
    gamma0=3.0,
    init_variance=0.5,
    label_noise=0.2,
    learning_rate=0.05,
)


def seconds(run, repeats: int) -> float:
    """The shortest of several runs."""
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        took.append(time.perf_counter() - start)
    return min(took)


def main(dim: int):
    import jax

    import dmftlib as dm

    def losses(net):
        return jax.block_until_ready(dm.solve(net).train_loss)

    cost, rows = {}, []

    def row(what, ours, beside, other):
        rows.append(
            {
                "what": what,
                "seconds": ours,
                "beside": beside,
                "its seconds": other,
                "ratio": other / ours,
            }
        )
        print(rows[-1], flush=True)

    for steps in (50, 60, 100, 200, 400, 1000):
        net = dm.DeepLinear(**SETTING, steps=steps)
        start = time.perf_counter()
        losses(net)
        first = time.perf_counter() - start
        repeats = 3 if steps > 300 else 10
        cost[steps] = seconds(lambda net=net: losses(net), repeats)
        plain = seconds(
            lambda steps=steps: plain_loop(**SETTING, steps=steps), min(repeats, 3)
        )
        row(
            f"level 1, {steps} steps (first call {first:.1f} s)",
            cost[steps],
            "its equations as a NumPy loop",
            plain,
        )
    exponent = np.polyfit(np.log(list(cost)), np.log(list(cost.values())), 1)[0]
    print(f"cost of level 1 against steps, 50 to 1000: exponent {exponent:.2f}")

    net = dm.DeepLinear(**SETTING, steps=60)
    solution = dm.solve(net)

    def spectra():
        return jax.block_until_ready(
            [solution.outliers(layer).values for layer in range(net.hidden_layers)]
        )

    spectra()
    level_2 = seconds(spectra, 10)
    row("all outliers of two layers at 60 steps", level_2, "level 1", cost[60])

    def simulated(spectra_at):
        start = time.perf_counter()
        dm.simulate(net, dim=dim, seeds=1, spectra_at=spectra_at, ntk=False)
        return time.perf_counter() - start

    training, some = simulated(()), simulated((0, 20, 40, 60))
    row(
        "levels 1 and 2, two layers, 60 steps",
        cost[60] + level_2,
        f"one network of D = {dim}, with SVDs (timed at 4 of the 61 steps)",
        training + (some - training) * 61 / 4,
    )
    protocol.save(
        "deep_linear_benchmark",
        pd.DataFrame(rows),
        digits=3,
        script="benchmarks/deep_linear.py",
        exponent=f"cost of level 1 from 50 to 1000 steps grows with power {exponent:.2f}",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dim", type=int, default=2000)
    main(parser.parse_args().dim)
