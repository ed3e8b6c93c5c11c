#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the statistics of profiles against arithmetic of its own, and against SciPy where there is one.

usage: check_profile_statistics.py PROGRAM, the unit test test_unit_schedule_extreme
"""

import math
import random
import subprocess
import sys
import tempfile

try:
    from scipy import stats
except ImportError:
    stats = None

LAGS = 10


def chi2_tail(x, degrees):
    """By Simpson's rule over the density: another way than the closed form of the program."""
    def density(t):
        return t ** (degrees / 2 - 1) * math.exp(-t / 2) / (2 ** (degrees / 2) * math.gamma(degrees / 2))
    steps, top = 20000, x + 300.0
    width = (top - x) / steps
    inner = sum((4 if k % 2 else 2) * density(x + k * width) for k in range(1, steps))
    return width / 3 * (density(x) + inner + density(top))


def independence(samples):
    n = len(samples)
    mean = math.fsum(samples) / n
    off = [x - mean for x in samples]
    cov = [math.fsum(off[i] * off[i - k] for i in range(k, n)) for k in range(LAGS + 1)]
    q = n * (n + 2) * math.fsum((cov[k] / cov[0]) ** 2 / (n - k) for k in range(1, LAGS + 1))
    lags = math.floor(4 * (n / 100) ** 0.25)
    long_run = (cov[0] + 2 * sum((1 - k / (lags + 1)) * cov[k] for k in range(1, lags + 1))) / n
    partial, squares = 0.0, 0.0
    for x in off:
        partial += x
        squares += partial * partial
    a, b = samples[: n // 2], samples[n // 2 :]
    points = sorted(set(samples))
    def share(half):
        ordered, at, out = sorted(half), 0, []
        for point in points:
            while at < len(ordered) and ordered[at] <= point:
                at += 1
            out.append(at / len(half))
        return out
    distance = max(abs(x - y) for x, y in zip(share(a), share(b)))
    return {"ljung_box": q, "ljung_box_p": chi2_tail(q, LAGS), "kpss": squares / (n * n * long_run),
            "smirnov": distance}


def tail(samples, exceedance=1e-4):
    n = len(samples)
    ordered = sorted(samples)
    threshold = ordered[math.ceil(0.9 * n) - 1]
    y = [x - threshold for x in ordered if x > threshold]
    m = len(y)
    a0 = math.fsum(y) / m
    a1 = math.fsum(v * (m - 1 - j) / (m - 1) for j, v in enumerate(y)) / m
    xi, sigma = 2 - a0 / (a0 - 2 * a1), 2 * a0 * a1 / (a0 - 2 * a1)
    if 1 + xi * y[-1] / sigma <= 0:
        xi = -sigma / (y[-1] * (1 + 1 / m))
    survival = [(1 + xi * v / sigma) ** (-1 / xi) for v in y]
    ad = -m - math.fsum((2 * i + 1) * (math.log(1 - survival[i]) + math.log(survival[m - 1 - i]))
                        for i in range(m)) / m
    x = threshold + sigma / xi * ((exceedance * n / m) ** -xi - 1)
    return {"threshold": threshold, "exceedances": m, "shape": xi, "scale": sigma,
            "anderson_darling": ad, "quantile": x}


def program_numbers(program, samples):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(map(str, samples)))
        file.flush()
        out = subprocess.run([program, "--numbers", file.name], stdout=subprocess.PIPE, check=True,
                             text=True, timeout=120).stdout
    return {key: float(value) for key, value in (line.split() for line in out.splitlines())}


def compare(name, found, wanted):
    for key, value in wanted.items():
        near = abs(found[key] - value) <= 1e-6 * max(1e-3, abs(value))
        print(f"{name:12} {key:18} {found[key]:.9g} {value:.9g} {'ok' if near else 'DIFFERS'}")
        if not near:
            sys.exit(1)


def scipy_numbers(samples, found):
    half = len(samples) // 2
    wanted = {"ljung_box_p": stats.chi2.sf(found["ljung_box"], LAGS),
              "smirnov": stats.ks_2samp(samples[:half], samples[half:]).statistic}
    if found["scale"] > 0:
        law = stats.genpareto(found["shape"], loc=found["threshold"], scale=found["scale"])
        excess = [x for x in samples if x > found["threshold"]]
        wanted["quantile"] = law.isf(1e-4 * len(samples) / len(excess))
        ordered = sorted(excess)
        m = len(ordered)
        wanted["anderson_darling"] = -m - sum(
            (2 * i + 1) * (law.logcdf(ordered[i]) + law.logsf(ordered[m - 1 - i]))
            for i in range(m)) / m
    return wanted


def main():
    program = sys.argv[1]
    random.seed(20240229)
    laws = {
        "exponential": lambda: random.expovariate(1),
        "uniform": lambda: random.random(),
        "gpd -0.2": lambda: (random.random() ** 0.2 - 1) / -0.2,
        "gpd 0.3": lambda: (random.random() ** -0.3 - 1) / 0.3,
        "normal": lambda: random.gauss(5, 1),
    }
    fits = 0
    for name, law in laws.items():
        for count in (1000, 3000):
            samples = [1000000 + int(100000 * law()) for _ in range(count)]
            found = program_numbers(program, samples)
            compare(name, found, independence(samples))
            if found["scale"] > 0:
                fits += 1
                compare(name, found, tail(samples))
            if stats is not None:
                compare(name + " scipy", found, scipy_numbers(samples, found))
    last, series = 0.0, []
    for _ in range(2000):
        last = 0.4 * last + random.expovariate(1)
        series.append(1000000 + int(100000 * last))
    found = program_numbers(program, series)
    compare("ar(1)", found, independence(series))
    if found["outcome"] != 3 or fits < 5:
        sys.exit(f"an autocorrelated series must be refused, and most others not: {found}, {fits} fits")
    print("with SciPy" if stats is not None else "SciPy is not installed: own arithmetic only")


main()
