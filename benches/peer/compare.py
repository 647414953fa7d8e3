"""Kiln beside its peer: the same shader, the same client, the same machine, in the same run.

Called by compare.sh. Starts `kiln serve`, the peer as it is first written and the tuned peer (see service.py) in turn (A, B, C, A, B, …),
each on the same processors and alone, and drives them with one keep-alive client:

- quiet: N requests in flight, each held until its picture comes back; jobs a second are pictures a second.
- flood: N connections submit without waiting for pictures, as fast as they are answered, for a fixed time; jobs a second are the
  jobs that had succeeded when the time was over.

Every job has a seed of its own, so that no result can be reused, and every picture that comes back is a whole PNG. One picture of each
service is compared with the other's.
"""

import argparse
import asyncio
import io
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import numpy
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
SIDE = 256
LOOPBACK = "127.0.0.1"


class Connection:
    """One keep-alive connection of HTTP/1.1; answers have a Content-Length."""

    def __init__(self, port):
        self.port = port
        self.reader = self.writer = None

    async def request(self, method, path, body=b"", headers=""):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(LOOPBACK, self.port, limit=1 << 20)
        head = f"{method} {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.writer.write(head.encode() + body)
        answer = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"content-length: *(\d+)", answer)
        if not length:
            raise SystemExit(f"an answer without a length: {answer!r}")
        content = await self.reader.readexactly(int(length[1]))
        return int(answer[9:12]), content

    def close(self):
        if self.writer:
            self.writer.close()


class Service:
    """A service under test: how it is started and how it is spoken to."""

    name = ""

    def __init__(self, arguments):
        self.arguments = arguments
        self.process = self.port = None
        self.folders = []

    def start(self, command, environment, pattern):
        folder = tempfile.mkdtemp(prefix="peer-", dir=self.arguments.folder)
        self.folders.append(folder)
        self.log = open(os.path.join(folder, "log"), "w+b")
        command = [part.replace("FOLDER", folder) for part in command]
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=subprocess.STDOUT, env={**os.environ, **environment}, cwd=HERE
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with open(self.log.name, errors="replace") as log:
                text = log.read()
            found = re.search(pattern, text)
            if found and self.port is None:
                self.port = int(found[1])
            if self.port and self.ready():
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"{self.name} does not start:\n{text}")

    def get(self, path):
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}{path}", timeout=10) as answer:
            return answer.read()

    def ready(self):
        try:
            self.get(self.health)
            return True
        except OSError:
            return False

    def stop(self):
        """Ends the process that this object started, by its own id."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        self.process = self.port = None


class Kiln(Service):
    name = "kiln"
    health = "/readyz"

    def launch(self):
        command = [self.arguments.kiln, "serve", "--addr", f"{LOOPBACK}:0", "--data", "FOLDER/data"]
        self.start(command, {"NO_COLOR": "1"}, r"http://127\.0\.0\.1:(\d+)")

    def submission(self, seed, wait):
        held = "Prefer: wait=60\r\nAccept: image/png\r\n" if wait else ""
        return f"/v1/jobs?width={SIDE}&height={SIDE}&seed={seed}", f"Content-Type: text/wgsl\r\n{held}"

    def job_path(self, number):
        return f"/v1/jobs/{number}"


class Peer(Service):
    name = "peer"
    tuned = False
    health = "/jobs/none"

    def launch(self):
        command = [sys.executable, "-m", "uvicorn", "service:app", "--host", LOOPBACK, "--port", "0", "--no-access-log"]
        environment = {"PYTHONDONTWRITEBYTECODE": "1", "PEER_TUNED": str(int(self.tuned))}
        self.start(command, environment, r"http://127\.0\.0\.1:(\d+)")

    def ready(self):
        # No route is only for this: an answer of any kind says that it listens, and it listens once its adapter is there.
        try:
            self.get(self.health)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def submission(self, seed, wait):
        held = "&wait=60" if wait else ""
        return f"/jobs?width={SIDE}&height={SIDE}&seed={seed}{held}", "Content-Type: text/wgsl\r\n"

    def job_path(self, number):
        return f"/jobs/{number}"


class TunedPeer(Peer):
    name = "tuned"
    tuned = True


class Seeds:
    """A seed that no other job of the run has."""

    def __init__(self):
        self.next = 0

    def take(self):
        self.next += 1
        return self.next


def checked(status, content):
    """The picture of an answer, which must be a whole PNG."""
    if status != 200 or content[:8] != b"\x89PNG\r\n\x1a\n" or content[-8:-4] != b"IEND":
        raise SystemExit(f"answered {status} instead of a picture: {content[:300]!r}")
    return content


async def quiet(service, source, seeds, seconds, in_flight):
    """Pictures a second with a few requests in flight."""
    stop = time.perf_counter() + seconds
    done = 0

    async def client():
        nonlocal done
        connection = Connection(service.port)
        while time.perf_counter() < stop:
            path, headers = service.submission(seeds.take(), True)
            checked(*await connection.request("POST", path, source, headers))
            if time.perf_counter() < stop:
                done += 1
        connection.close()

    await asyncio.gather(*(client() for _ in range(in_flight)))
    return done / seconds


async def flood(service, source, seeds, seconds, connections):
    """Jobs that had succeeded when the time was over, and submissions that were taken, both a second."""
    start = time.perf_counter()
    stop = start + seconds
    numbers = []

    async def client():
        connection = Connection(service.port)
        while time.perf_counter() < stop:
            path, headers = service.submission(seeds.take(), False)
            status, content = await connection.request("POST", path, source, headers)
            if status not in (201, 202):
                raise SystemExit(f"{service.name} answered {status}: {content[:300]!r}")
            numbers.append(json.loads(content)["id"])
        connection.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    submitted = len(numbers)
    # Jobs of one client end in the order in which they came: the border is found by halving. Those that ended meanwhile count too,
    # in the time that this took.
    connection = Connection(service.port)
    low, high = 0, submitted
    while low < high:
        middle = (low + high) // 2
        status, content = await connection.request("GET", service.job_path(numbers[middle]))
        state = json.loads(content)["state"]
        if state == "failed":
            raise SystemExit(f"a job of {service.name} failed: {content!r}")
        low, high = (middle + 1, high) if state == "succeeded" else (low, middle)
    taken = time.perf_counter() - start
    # Those that were answered at the same moment may end in another order, and so be on the other side of the border.
    ended = numbers[: max(low - connections, 0)]
    for number in random.sample(ended, min(len(ended), 20)):
        checked(*await connection.request("GET", service.job_path(number) + "/image"))
    connection.close()
    return low / taken, submitted / taken


async def picture(service, source, seed):
    connection = Connection(service.port)
    path, headers = service.submission(seed, True)
    content = checked(*await connection.request("POST", path, source, headers))
    connection.close()
    return numpy.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


def spread(values):
    return f"{statistics.median(values):8.1f}   ({', '.join(f'{value:.1f}' for value in values)})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kiln", required=True, help="the release binary")
    parser.add_argument("--folder", help="where data and logs go while it runs; must be on a disk, not in memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--in-flight", type=int, default=4, help="requests in flight when it is quiet")
    parser.add_argument("--connections", type=int, default=16, help="connections that flood")
    parser.add_argument("--only", choices=["kiln", "peer", "tuned"], help="measure one of them alone")
    arguments = parser.parse_args()
    with open(os.path.join(HERE, "shader.wgsl"), "rb") as file:
        source = file.read()
    seeds = Seeds()
    services = [service(arguments) for service in (Peer, TunedPeer, Kiln) if arguments.only in (None, service.name)]
    rates = {service.name: {"quiet": [], "flood": [], "submits": []} for service in services}
    pictures = {}
    try:
        for round_number in range(arguments.rounds):
            for service in services:
                try:
                    service.launch()
                    pictures[service.name] = asyncio.run(picture(service, source, 4711))
                    asyncio.run(quiet(service, source, seeds, 1.0, arguments.in_flight))
                    rate = asyncio.run(quiet(service, source, seeds, arguments.seconds, arguments.in_flight))
                    rates[service.name]["quiet"].append(rate)
                    flooded, submits = asyncio.run(flood(service, source, seeds, arguments.seconds, arguments.connections))
                    rates[service.name]["flood"].append(flooded)
                    rates[service.name]["submits"].append(submits)
                finally:
                    service.stop()
                print(
                    f"round {round_number + 1}  {service.name:5}  quiet {rate:7.1f} jobs/s   flood {flooded:7.1f} jobs/s"
                    f"   {submits:7.1f} submits/s",
                    flush=True,
                )
    finally:
        # All at once: ext4 passes over what was deleted in the last minutes when it makes a file, and the next round would pay for it.
        for folder in (folder for service in services for folder in service.folders):
            shutil.rmtree(folder, ignore_errors=True)
    for name in pictures:
        difference = int(abs(pictures[name] - next(iter(pictures.values()))).max())
        if difference > 1:
            raise SystemExit(f"the pictures of {' and '.join(pictures)} differ by {difference} of 255; they must not by more than 1")
    print(f"\n{os.cpu_count()} processors, load before {os.getloadavg()[0]:.1f}; medians of {arguments.rounds} rounds, jobs a second")
    for mode in ("quiet", "flood", "submits"):
        for service in services:
            print(f"{mode:8}{service.name:6}{spread(rates[service.name][mode])}")
        median = {service.name: statistics.median(rates[service.name][mode]) for service in services}
        for other in (name for name in median if name != "kiln" and "kiln" in median):
            print(f"{mode:8}kiln to {other:6}{median['kiln'] / max(median[other], 1e-9):8.2f}")


if __name__ == "__main__":
    main()
