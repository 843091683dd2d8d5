"""Takes the reader study in a real headless Chromium, from start to analysed answers.

Usage: study_browser.py SYNTHVOL_EVAL SCREENSHOT_FOLDER
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

import numpy as np
from chromium import Chromium

EVAL, SCREENSHOTS = "", Path()
SIZE = 48


def thorax(seed: int, noise: float) -> Any:  # noqa: ANN401
    """A body with two lungs, a spine and a bright vessel, different for every seed."""
    random = np.random.default_rng(seed)
    z, y, x = np.mgrid[-1:1:SIZE * 1j, -1:1:SIZE * 1j, -1:1:SIZE * 1j]
    volume = np.full((SIZE,) * 3, -1000.0)
    volume[(x / 0.85) ** 2 + (y / 0.65) ** 2 < 1] = 40
    for side in (-1, 1):
        width = random.uniform(0.24, 0.32)
        volume[((x - 0.42 * side) / width) ** 2 + (y / 0.45) ** 2 + (z / 0.9) ** 2 < 1] = -820
    volume[x**2 + (y - 0.45) ** 2 < 0.012] = 500
    volume[(x - 0.4) ** 2 + (z - random.uniform(-0.3, 0.3)) ** 2 < 0.004] = 60
    volume += random.normal(0, noise, volume.shape)
    return np.clip(volume, -1024, 600).astype(np.int16)


class Study(unittest.TestCase):
    folder: Path

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="study-"))
        for offset, (name, count, noise) in enumerate((("real", 3, 25), ("crf", 6, 5), ("ha", 3, 5))):
            (cls.folder / name).mkdir()
            for i in range(count):
                np.save(cls.folder / name / f"{i}.npy", thorax(100 * offset + i, noise))

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.folder)

    def build(self, mode: str, real_pairs: int, preference_pairs: int) -> tuple[Path, Path]:
        study, key = self.folder / f"study-{mode}", self.folder / f"key-{mode}.json"
        subprocess.run([EVAL, "study", "build", "--real", self.folder / "real", "--first", self.folder / "crf",
                        "--second", self.folder / "ha", "--first-label", "CRF-GAN", "--second-label", "HA-GAN",
                        "--real-pairs", str(real_pairs), "--preference-pairs", str(preference_pairs),
                        "--mode", mode, "--seed", "5", "--output", study, "--key", key],
                       check=True, capture_output=True)
        return study, key

    def browser(self) -> Chromium:
        profile = Path(tempfile.mkdtemp(dir=self.folder))
        return Chromium(profile / "profile", self.folder)

    @staticmethod
    def start(browser: Chromium, name: str) -> None:
        browser.wait_for("!document.getElementById('intro').hidden")
        browser.evaluate(f"document.getElementById('reader').value = {json.dumps(name)}")
        browser.click("#start-form button")

    @staticmethod
    def wait_for_pair(browser: Chromium, number: int) -> None:
        browser.wait_for(f"document.getElementById('progress-text').textContent.startsWith('Pair {number} ') && "
                         "document.getElementById('message').textContent === '' && "
                         "document.body.dataset.shown === current().pair && !state.draft.loading")

    @staticmethod
    def answer(browser: Chromium, key: dict[str, Any], right: bool) -> str:
        """Answers by keyboard: for the pair's first volume (real, CRF-GAN) or, if not `right`, the other."""
        shown = browser.evaluate("current()")
        pair = next(p for p in key["pairs"] if p["id"] == shown["pair"])
        wanted = pair["first"] if right else pair["second"]
        browser.press("ArrowLeft" if shown["left"] == wanted else "ArrowRight")
        if pair["part"] == "real-or-synthetic":
            browser.press("2")
        browser.press("Enter")
        return str(pair["part"])

    def test_folder_tells_nothing(self) -> None:
        study, key_file = self.build("volume", 3, 3)
        key = json.loads(key_file.read_text())
        text = "".join((study / name).read_text() for name in ("study-data.js", "index.html", "study.js"))
        for word in ("CRF", "HA-GAN", "seed", *(name.split(": ")[1] for name in key["volumes"].values())):
            self.assertNotIn(f'"{word}"', text)
            self.assertNotIn(f"{word}.npy", text)
        files = sorted((study / "volumes").iterdir())
        self.assertEqual({file.stem for file in files}, set(key["volumes"]))
        self.assertEqual(len({file.stat().st_size for file in files}), 1)
        # Neither place in the page's pair is always the first source's.
        pairs = json.loads((study / "study-data.js").read_text().split("=", 1)[1].rstrip(";\n"))["pairs"]
        first = [page["volumes"][0] == pair["first"] for page, pair in zip(pairs, key["pairs"], strict=True)]
        self.assertTrue(any(first) and not all(first))
        inside = self.folder / "x"
        refused = subprocess.run([EVAL, "study", "build", "--real", self.folder / "real", "--first",
                                  self.folder / "crf", "--second", self.folder / "ha", "--output", inside,
                                  "--key", inside / "key.json"], capture_output=True, text=True)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("must lie outside", refused.stderr)
        shutil.rmtree(study)

    def test_volume_study_over_http(self) -> None:
        study, key_file = self.build("volume", 3, 3)
        key = json.loads(key_file.read_text())
        answers = self.folder / "answers"
        server = subprocess.Popen([EVAL, "study", "serve", "--folder", study, "--answers", answers, "--listen",
                                   "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            with self.browser() as browser:
                browser.open(url)
                browser.screenshot(SCREENSHOTS / "1-intro.png")
                self.start(browser, "Reader <One>")
                self.wait_for_pair(browser, 1)
                self.check_scrolling(browser)
                browser.screenshot(SCREENSHOTS / "2-three-planes.png")
                self.answer(browser, key, right=True)
                self.wait_for_pair(browser, 2)
                # A choice that is not confirmed yet, and the answer before it, outlive a reload.
                browser.press("ArrowRight")
                browser.press("4")
                given = "[state.answers, state.draft.side, state.draft.difficulty, current()]"
                before = browser.evaluate(given)
                browser.reload()
                self.wait_for_pair(browser, 2)
                self.assertEqual(browser.evaluate(given), before)
                self.assertEqual(browser.evaluate("state.reloads"), 1)
                browser.screenshot(SCREENSHOTS / "3-after-reload.png")
                for number in range(2, 7):
                    self.wait_for_pair(browser, number)
                    if number == 5:
                        browser.press("a")
                        browser.screenshot(SCREENSHOTS / "4-preference-axial.png")
                    self.answer(browser, key, right=number != 6)
                browser.wait_for("document.body.dataset.posted === 'true'")
                browser.screenshot(SCREENSHOTS / "5-done.png")
                self.assertEqual(browser.errors, [])
                outside = [r for r in browser.requests if not r.startswith((url, "data:", "blob:", "about:"))]
                self.assertEqual(outside, [], "the page asked for something outside its folder")
        finally:
            server.terminate()
            server.stdout.close()
            self.assertEqual(server.wait(20), 0)
        self.check_analysis(key_file, answers)

    def check_scrolling(self, browser: Chromium) -> None:
        """Arrow keys, the wheel and a click move both volumes, and what is drawn changes."""
        position = "[...viewers.left.scene.crosshairPos]"
        start = browser.evaluate(position)
        picture = "document.querySelector('#right canvas').toDataURL()"
        browser.evaluate("Object.values(viewers).forEach(v => v.opts.crosshairWidth = 0)")
        browser.press("a")
        drawn = browser.evaluate(f"(viewers.right.drawScene(), {picture})")
        for _ in range(6):
            browser.press("ArrowUp")
        moved = browser.evaluate(position)
        self.assertAlmostEqual(moved[2] - start[2], 6 / SIZE, places=4)
        browser.wheel("#right canvas", 120)
        browser.wait_for(f"Math.abs({position}[2] - {moved[2] - 1 / SIZE}) < 1e-4")
        self.assertIn("axial, slice", browser.evaluate("document.getElementById('slice-text').textContent"))
        for _ in range(8):
            browser.press("ArrowUp")
        self.assertNotEqual(browser.evaluate(f"(viewers.right.drawScene(), {picture})"), drawn)
        self.assertEqual(browser.evaluate(position), browser.evaluate("[...viewers.right.scene.crosshairPos]"))
        browser.press("w")
        self.assertEqual(browser.evaluate("[viewers.right.volumes[0].cal_min, viewers.right.volumes[0].cal_max]"),
                         [-160, 240])
        browser.press("m")
        browser.click("#left canvas", (-160, -120))
        browser.wait_for("viewers.left.scene.crosshairPos.every((v, i) => v === viewers.right.scene.crosshairPos[i])")

    def check_analysis(self, key_file: Path, answers: Path) -> None:
        files = list(answers.iterdir())
        self.assertEqual(len(files), 1)
        self.assertTrue(files[0].name.startswith("Reader__One_-"))
        figures = self.folder / "analysis.json"
        result = subprocess.run([EVAL, "study", "analyze", "--key", key_file, answers, "--json", figures], check=True,
                                capture_output=True, text=True)
        analysis = json.loads(figures.read_text())
        self.assertEqual(analysis["real_or_synthetic"]["first"]["total"], 3)
        self.assertEqual(analysis["real_or_synthetic"]["difficulty"], [0, 3, 0, 0, 0])
        self.assertEqual((analysis["preference"]["first"]["total"], analysis["preference"]["second"]["total"]), (2, 1))
        self.assertIn("CRF-GAN: 2 votes", result.stdout)

    def test_single_slice_study_from_the_file_system(self) -> None:
        study, key_file = self.build("slice", 1, 1)
        key = json.loads(key_file.read_text())
        with self.browser() as browser:
            browser.open((study / "index.html").as_uri())
            self.start(browser, "offline")
            self.wait_for_pair(browser, 1)
            question = browser.evaluate("current()")
            axis = {"axial": 2, "coronal": 1, "sagittal": 0}[question["plane"]]
            browser.press("ArrowUp")
            browser.wheel("#left canvas", 120)
            browser.press("m")
            browser.click("#left canvas", (40, 40))
            for side in ("left", "right"):
                self.assertAlmostEqual(browser.evaluate(f"viewers.{side}.scene.crosshairPos[{axis}]"),
                                       question["position"], places=4)
                self.assertEqual(browser.evaluate(f"viewers.{side}.opts.sliceType"), {2: 0, 1: 1, 0: 2}[axis])
            browser.screenshot(SCREENSHOTS / "6-single-slice.png")
            self.answer(browser, key, right=True)
            self.wait_for_pair(browser, 2)
            self.answer(browser, key, right=True)
            browser.wait_for("!document.getElementById('done').hidden")
            browser.click("#download")
            saved = self.folder / "answers-offline.json"
            end = time.monotonic() + 20
            while not saved.exists() and time.monotonic() < end:
                time.sleep(0.05)
            self.assertEqual([r for r in browser.requests if not r.startswith(("file:", "data:", "blob:"))], [])
        result = subprocess.run([EVAL, "study", "analyze", "--key", key_file, saved], check=True, capture_output=True,
                                text=True)
        self.assertIn("100.0%", result.stdout)


if __name__ == "__main__":
    if shutil.which("chromium") is None:
        print("skipped: no chromium (scripts/setup --tests installs it)")
        sys.exit(77)
    EVAL, SCREENSHOTS = sys.argv.pop(1), Path(sys.argv.pop(1))
    unittest.main()
