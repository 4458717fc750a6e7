"""Calls to a node: docs/spec/http.md and problems.md. The same bytes may always be sent again."""

import json
import sys
import time
import urllib.error
import urllib.request

CBOR, COSE, VERSION = "application/cbor", "application/cose", "1.0"


class Problem(Exception):
    """The node refuses. `retry_after` seconds later it may not, where it says so."""

    def __init__(self, error):
        try:
            said = json.load(error)
        except ValueError:
            said = {}
        self.code = said.get("code", f"status_{error.code}")
        after = error.headers.get("Retry-After")
        self.retry_after = int(after) if after else None
        super().__init__(f"{self.code}: {said.get('detail', error.reason)}")


class Api:
    def __init__(self, url, patience=120):
        self.url, self.patience = url.rstrip("/"), patience
        about = json.loads(self.get("/v1/node"))
        self.node = bytes.fromhex(about["node"])
        # What is signed must be dated within the skew of the node's clock.
        self.skew = about["params"]["clock_skew"] if about["params"] else 0
        ahead = about["time"] - int(time.time())
        self.offset = ahead if abs(ahead) > self.skew // 2 else 0

    def now(self):
        return int(time.time()) + self.offset

    def get(self, path):
        return self._send(urllib.request.Request(self.url + path))

    def post(self, path, media, body):
        headers = {"Content-Type": media}
        return self._send(urllib.request.Request(self.url + path, body, headers))

    def _send(self, request):
        """Sends until it is answered, or refused for good, or patience ends."""
        request.add_header("Lapwing-Version", VERSION)
        until, told = time.monotonic() + self.patience, False
        while True:
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return answer.read()
            except urllib.error.HTTPError as error:
                problem = Problem(error)
                if problem.retry_after is None or time.monotonic() > until:
                    raise problem from None
                time.sleep(problem.retry_after)
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                # Whether it was carried out is not known.
                if time.monotonic() > until:
                    raise
                if not told:
                    told = True
                    print(f"no answer from {self.url} yet; trying for {self.patience} s", file=sys.stderr)
                time.sleep(1)
