"""Holds synthvol-eval's statistics against NumPy and SciPy computations of the same definitions.

Usage: agreement.py STATISTICS_PROBE
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy as np
from scipy import linalg, ndimage, stats
from scipy.spatial.distance import cdist, pdist

PROBE = sys.argv.pop(1) if len(sys.argv) > 1 else ""
Array = np.ndarray[Any, Any]


def probe(what: str, *arrays: Array) -> Any:  # noqa: ANN401
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, array in enumerate(arrays):
            paths.append(str(Path(folder) / f"{number}.npy"))
            np.save(paths[-1], array.astype(np.float32))
        return json.loads(subprocess.run([PROBE, what, *paths], check=True, capture_output=True).stdout)


def frechet_by_scipy(x: Array, y: Array) -> float:
    """The published computation, with SciPy's matrix square root."""
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(s1 @ s2)
    difference = x.mean(0) - y.mean(0)
    return float(difference @ difference + np.trace(s1) + np.trace(s2) - 2 * np.trace(np.real(root)))


def frechet_by_eigh(x: Array, y: Array) -> float:
    """The same for singular covariances, where sqrtm of the product loses its digits."""
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    values, vectors = np.linalg.eigh(s1)
    half = vectors @ np.diag(np.sqrt(np.clip(values, 0, None))) @ vectors.T
    root = np.sqrt(np.clip(np.linalg.eigvalsh(half @ s2 @ half), 0, None)).sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s1) + np.trace(s2) - 2 * root)


def ms_ssim_by_scipy(a: Array, b: Array) -> float:
    weights = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]
    scales = sum(1 for scale in range(5) if a.shape[0] >> scale >= 11)
    taps = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    taps /= taps.sum()

    def blur(volume: Array) -> Array:
        for axis in range(3):
            volume = ndimage.correlate1d(volume, taps, axis=axis)
        return volume[5:-5, 5:-5, 5:-5]

    c1, c2, product = 0.02**2, 0.06**2, 1.0
    for scale in range(scales):
        ma, mb = blur(a), blur(b)
        contrast = (2 * (blur(a * b) - ma * mb) + c2) / (blur(a * a) - ma**2 + blur(b * b) - mb**2 + c2)
        whole = contrast * (2 * ma * mb + c1) / (ma**2 + mb**2 + c1)
        term = (whole if scale == scales - 1 else contrast).mean()
        product *= max(term, 0) ** (weights[scale] / sum(weights[:scales]))
        n = a.shape[0] // 2
        a, b = (v.reshape(n, 2, n, 2, n, 2).mean((1, 3, 5)) for v in (a, b))
    return float(product)


class Agreement(unittest.TestCase):
    def setUp(self) -> None:
        self.random = np.random.default_rng(7)

    def sample(self, count: int, dims: int, shift: float = 0.0) -> Array:
        mixing = self.random.normal(size=(dims, dims)) / np.sqrt(dims)
        rows: Array = self.random.normal(size=(count, dims)) @ mixing + shift
        return rows.astype(np.float32).astype(float)

    def test_frechet_has_the_closed_form_of_commuting_gaussians(self) -> None:
        m1, m2 = self.random.normal(size=(2, 32)).astype(np.float32).astype(float)
        v1, v2 = self.random.uniform(0.1, 4, size=(2, 32)).astype(np.float32).astype(float)
        expected = ((m1 - m2) ** 2).sum() + ((np.sqrt(v1) - np.sqrt(v2)) ** 2).sum()
        found = probe("gaussians", m1, np.diag(v1), m2, np.diag(v2))["value"]
        self.assertAlmostEqual(found / expected, 1, delta=1e-6)

    def test_frechet_of_a_gaussian_with_itself_is_zero(self) -> None:
        cov = np.cov(self.sample(100, 16), rowvar=False)
        mean = np.zeros(16)
        self.assertLess(probe("gaussians", mean, cov, mean, cov)["value"], 1e-9)

    def test_frechet_of_samples_agrees_with_scipy(self) -> None:
        for n1, n2, dims in ((300, 250, 48), (500, 80, 64)):
            x, y = self.sample(n1, dims), self.sample(n2, dims, 0.1)
            found = probe("samples", x, y)["frechet"]
            self.assertAlmostEqual(found / frechet_by_scipy(x, y), 1, delta=1e-6)

    def test_frechet_of_fewer_rows_than_dimensions_agrees_with_numpy(self) -> None:
        x, y = self.sample(40, 256), self.sample(55, 256, 0.2)
        result = probe("samples", x, y)
        self.assertAlmostEqual(result["frechet"] / frechet_by_eigh(x, y), 1, delta=1e-6)
        low, high = result["interval"]
        self.assertTrue(low < result["frechet"] < high)

    def test_mmd_agrees_with_numpy(self) -> None:
        for shift in (0.0, 0.3):
            x, y = self.sample(60, 128), self.sample(45, 128, shift)
            both = np.concatenate([x, y])
            median = np.median(pdist(both))
            kernel = np.exp(-(cdist(both, both) ** 2) / (2 * median**2))
            xx, yy, xy = kernel[:60, :60], kernel[60:, 60:], kernel[:60, 60:]
            unbiased = ((xx.sum() - 60) / (60 * 59)) + ((yy.sum() - 45) / (45 * 44)) - 2 * xy.mean()
            biased = xx.mean() + yy.mean() - 2 * xy.mean()
            found = probe("samples", x, y)["mmd"]
            np.testing.assert_allclose(found[:3], [unbiased, biased, median], rtol=1e-6)

    def test_intervals_are_those_of_a_bootstrap_in_numpy(self) -> None:
        x, y = self.sample(60, 8), self.sample(45, 8, 0.3)
        median = np.median(pdist(np.concatenate([x, y])))

        def mmd(a: Array, b: Array) -> float:
            aa, bb, ab = (np.exp(-(cdist(u, v) ** 2) / (2 * median**2)) for u, v in ((a, a), (b, b), (a, b)))
            n, m = len(a), len(b)
            return float((aa.sum() - n) / (n * (n - 1)) + (bb.sum() - m) / (m * (m - 1)) - 2 * ab.mean())

        result = probe("samples", x, y)
        for figure, found in ((frechet_by_eigh, result["interval"]), (mmd, result["mmd_interval"])):
            values = np.array([figure(x[self.random.integers(0, 60, 60)], y[self.random.integers(0, 45, 45)])
                               for _ in range(1000)])
            low, high = np.quantile(values, (0.025, 0.975)) - (values.mean() - figure(x, y))
            # 200 resamples place an end to about a tenth of the interval.
            np.testing.assert_allclose(found, (low, high), atol=0.2 * (high - low))

    def test_mmd_permutations_tell_equal_from_different(self) -> None:
        x = self.random.normal(size=(50, 8))
        y = self.random.normal(size=(50, 8))
        self.assertGreater(probe("samples", x, y)["mmd"][3], 0.02)
        self.assertLess(probe("samples", x, y + 1)["mmd"][3], 0.01)

    def test_ms_ssim_agrees_with_scipy(self) -> None:
        for size in (16, 32, 64):
            a = ndimage.gaussian_filter(self.random.normal(size=(size,) * 3), 2)
            a = (a / np.abs(a).max()).astype(np.float32).astype(float)
            b = np.clip(a + 0.1 * self.random.normal(size=a.shape), -1, 1).astype(np.float32).astype(float)
            found = probe("ssim", a, b)
            self.assertAlmostEqual(found["ms_ssim"], ms_ssim_by_scipy(a, b), delta=2e-5)
            blocks = a.reshape(size // 4, 4, size // 4, 4, size // 4, 4).mean((1, 3, 5))
            # The probe prints element 5 of the averaged cube.
            self.assertAlmostEqual(found["average"], blocks.reshape(-1)[5], delta=1e-6)

    def test_neighbours_agree_with_scipy(self) -> None:
        generated, training, held_out = (self.random.normal(size=(n, 20)) for n in (15, 40, 12))
        generated, training, held_out = (v.astype(np.float32).astype(float) for v in (generated, training, held_out))
        found = probe("neighbours", generated, training, held_out)
        distances = cdist(generated, training) / np.sqrt(20)
        real = cdist(held_out, training).min(1) / np.sqrt(20)
        for (index, distance), row in zip(found["nearest"], distances, strict=True):
            self.assertEqual(index, row.argmin())
            self.assertAlmostEqual(distance, row.min(), delta=1e-9)
        self.assertAlmostEqual(found["median_real"], np.median(real), delta=1e-9)
        test = stats.mannwhitneyu(distances.min(1), real, alternative="less", method="asymptotic")
        self.assertAlmostEqual(found["nearer_p"], test.pvalue, delta=1e-9)

    def test_distribution_functions_agree_with_scipy(self) -> None:
        rows = np.array([[k, n - k, z] for k, n in ((0, 5), (5, 5), (3, 10), (215, 360), (29, 71), (900, 2000), (1, 2))
                         for z in (0.01, 0.3, 0.5, 0.9)], dtype=np.float32).astype(float)
        for (k, rest, z), found in zip(rows, probe("distributions", rows), strict=True):
            n = int(k + rest)
            interval = stats.binomtest(int(k), n).proportion_ci(0.95, "exact")
            expected = [stats.beta.cdf(z, k + 1, rest + 1), stats.chi2.sf(k + 10 * z, rest + 1), stats.norm.sf(4 * z),
                        interval.low, interval.high, stats.binomtest(int(k), n).pvalue]
            np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-290)


if __name__ == "__main__":
    unittest.main()
