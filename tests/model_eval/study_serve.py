"""What strangers and broken clients may send to `synthvol-eval study serve`, and how it refuses to start.

Usage: study_serve.py SYNTHVOL_EVAL
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

EVAL = ""
TIMEOUT = 60
MAX_BODY = 1 << 20
MAX_SUBMISSIONS = 1000


def submission(**changes: object) -> dict[str, Any]:
    answers = [{"pair": "p1", "chosen": "v1", "difficulty": 2, "seconds": 1.5}]
    return {"format": 1, "study": "a-study", "reader": "Reader", "answers": answers, **changes}


class StudyServer(unittest.TestCase):
    folder: Path
    study: Path

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="study-serve-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.study = self.folder / "study"
        (self.study / "volumes").mkdir(parents=True)
        (self.study / "index.html").write_text("<p>the page</p>")
        (self.study / "volumes" / "v1.js").write_text("1")
        (self.study / "study-data.js").write_text('const STUDY = {"study": "a-study"};\n')
        (self.folder / "key.json").write_text("SECRET")
        self.answers = self.folder / "answers"

    def start(self) -> subprocess.Popen[str]:
        server = subprocess.Popen([EVAL, "study", "serve", "--folder", self.study, "--answers", self.answers,
                                   "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait, TIMEOUT)
        self.addCleanup(server.terminate)
        self.port = int(server.stdout.readline().strip().rstrip("/").rsplit(":", 1)[1])
        return server

    def ask(self, method: str, path: str, body: bytes | None = None,
            headers: dict[str, str] | None = None) -> tuple[int, str, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read().decode(), response.headers
        finally:
            connection.close()

    def post(self, body: object) -> tuple[int, str]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, text, _ = self.ask("POST", "/answers", data)
        return status, text

    def kept(self) -> list[str]:
        return sorted(path.name for path in self.answers.iterdir())

    def send_raw(self, data: bytes) -> bytes:
        """Sends bytes, stops sending, and returns all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), TIMEOUT) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while part := connection.recv(4096):
                    answer += part
            except ConnectionResetError:
                pass
            return answer

    def test_bad_answers_are_refused_by_name_and_leave_nothing(self) -> None:
        server = self.start()
        repeated = json.dumps(submission()).replace('"format": 1', '"format": 1, "format": 1')
        table: list[tuple[object, int, str]] = [
            (b"", 400, "not a JSON object"),
            (b"\xff\xfe\x00", 400, "not a JSON object"),
            (b"[1, 2]", 400, "not a JSON object"),
            (b'{"format": 1, "study": "a-study"', 400, "not a JSON object"),
            (b'{"a":' * 64 + b"1" + b"}" * 64, 400, "nested too deeply"),
            (repeated.encode(), 400, "'format' repeats"),
            (submission(format=2), 400, "format"),
            (submission(study="another"), 400, "study: expected a-study"),
            (submission(study=7), 400, "study"),
            (submission(reader=""), 400, "reader"),
            (submission(reader="r" * 201), 400, "reader"),
            (submission(reader=["r"]), 400, "reader"),
            (submission(answers=[]), 400, "answers"),
            (submission(answers={"p1": "v1"}), 400, "answers"),
            (submission(answers=[{"pair": "p1", "chosen": 3}]), 400, "answers"),
            (submission(answers=2 * [{"pair": "p1", "chosen": "v1"}]), 400, "unique pair"),
            (submission(answers=[{"pair": "p1", "chosen": "v1", "difficulty": 6}]), 400, "difficulty"),
            (submission(answers=[{"pair": "p1", "chosen": "v1", "difficulty": 1e99}]), 400, "difficulty"),
        ]
        for body, expected, word in table:
            with self.subTest(body=str(body)[:60]):
                status, text = self.post(body)
                self.assertEqual(status, expected, text)
                self.assertIn(word, text)
        self.assertEqual(self.kept(), [])
        self.assertIsNone(server.poll())

    def test_broken_requests_are_refused(self) -> None:
        server = self.start()
        for method in ("GET", "PUT", "DELETE"):
            self.assertEqual(self.ask(method, "/answers", b"" if method == "PUT" else None)[0], 405, method)
        head = b"POST /answers HTTP/1.1\r\nHost: x\r\n"
        self.assertIn(b" 413 ", self.send_raw(head + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1)))
        self.assertIn(b" 411 ", self.send_raw(head + b"\r\n"))
        # A client that promises more than it sends, one that speaks another protocol, and one that says nothing.
        self.assertNotIn(b" 200 ", self.send_raw(head + b"Content-Length: 100\r\n\r\n{}"))
        self.assertNotIn(b" 200 ", self.send_raw(head + b"Content-Length: -5\r\n\r\n{}"))
        self.assertNotIn(b" 200 ", self.send_raw(b"\x16\x03\x01" + bytes(range(256))))
        self.assertNotIn(b" 200 ", self.send_raw(b""))
        self.assertEqual(self.kept(), [])
        self.assertEqual(self.post(submission())[0], 200)
        server.terminate()
        self.assertEqual(server.wait(TIMEOUT), 0)

    def test_nothing_outside_the_folder_is_handed_out(self) -> None:
        self.start()
        status, text, headers = self.ask("GET", "/")
        self.assertEqual((status, text), (200, "<p>the page</p>"))
        self.assertIn("default-src 'self'", headers["Content-Security-Policy"])
        for path in ("/../key.json", "/%2e%2e/key.json", "/..%2fkey.json", "/volumes/../../key.json",
                     "/volumes/..%5c..%5ckey.json", "//key.json", "/volumes/", "/nothing"):
            with self.subTest(path):
                status, text, _ = self.ask("GET", path)
                self.assertGreaterEqual(status, 400)
                self.assertNotIn("SECRET", text)
                self.assertNotIn("v1.js", text)

    def test_answers_are_kept_once_and_inside_their_folder(self) -> None:
        self.start()
        hostile = "../../<script>\u202e\x00;rm"
        body = json.dumps(submission(reader=hostile)).encode()
        for _ in range(3):
            self.assertEqual(self.post(body)[0], 200)
        self.assertEqual(len(self.kept()), 1)
        self.assertRegex(self.kept()[0], r"\A[A-Za-z0-9_-]+\.json\Z")
        self.assertEqual((self.answers / self.kept()[0]).read_bytes(), body)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), ["answers", "key.json", "study"])

    def test_submissions_are_limited_over_restarts(self) -> None:
        self.answers.mkdir()
        for number in range(MAX_SUBMISSIONS - 1):
            (self.answers / f"{number}.json").write_text("{}")
        self.start()
        last = submission(reader="the last")
        self.assertEqual(self.post(last)[0], 200)
        status, text = self.post(submission(reader="one too many"))
        self.assertEqual(status, 507)
        self.assertIn(f"at most {MAX_SUBMISSIONS}", text)
        self.assertEqual(self.post(last)[0], 200, "what is kept already may come again")
        self.assertEqual(len(self.kept()), MAX_SUBMISSIONS)

    def test_it_refuses_to_start_in_one_line(self) -> None:
        self.start()
        taken = f"127.0.0.1:{self.port}"
        damaged = self.folder / "damaged"
        damaged.mkdir()
        file = self.folder / "key.json"
        table = [
            (["--folder", damaged], "no study-data.js", None),
            (["--folder", damaged], "not a study", "const STUDY = 1;"),
            (["--folder", damaged], "study", 'const STUDY = {"study": 3};'),
            (["--folder", damaged], "not a JSON object", "const STUDY = {nonsense};"),
            (["--folder", self.study, "--answers", file], f"--answers {file}", None),
            (["--folder", self.study, "--listen", taken], f"--listen {taken}", None),
            (["--folder", self.study, "--listen", "nonsense"], "--listen nonsense", None),
        ]
        for arguments, word, data in table:
            with self.subTest(word):
                if data is not None:
                    (damaged / "study-data.js").write_text(data)
                rest = [] if "--answers" in arguments else ["--answers", self.answers]
                result = subprocess.run([EVAL, "study", "serve", *arguments, *rest], capture_output=True, text=True,
                                        timeout=TIMEOUT)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn(word, result.stderr)
                self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)


if __name__ == "__main__":
    EVAL = sys.argv.pop(1)
    unittest.main()
