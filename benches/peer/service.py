"""The peer: what one would write in an afternoon to put a GPU behind HTTP. FastAPI, an in-memory queue, one worker thread with wgpu.

POST /jobs?seed=N&width=W&height=H with WGSL as the body answers 202 with an id; with wait=S it holds the answer until the picture is
there. GET /jobs/{id} and GET /jobs/{id}/image ask later. Nothing survives the process.

As it is first written, a job makes its pipeline, texture and buffer anew, and Pillow saves its PNG as it does by default. With
PEER_TUNED=1 pipelines are kept by the text of the shader and textures and buffers from job to job, which is the kindest reading of "the same
shader", and the PNG is compressed as fast as can be.
"""

import asyncio
import contextlib
import io
import os
import queue
import struct
import threading

import numpy
import wgpu
from fastapi import FastAPI, Request, Response
from PIL import Image

# Linear to sRGB by bytes (IEC 61966-2-1): what Kiln does with the numbers of an output.
LINEAR = numpy.arange(256) / 255
CURVE = numpy.where(LINEAR <= 0.0031308, LINEAR * 12.92, 1.055 * numpy.maximum(LINEAR, 1e-9) ** (1 / 2.4) - 0.055)
SRGB = numpy.round(CURVE * 255).astype(numpy.uint8)


TUNED = os.environ.get("PEER_TUNED") == "1"


class Job:
    """One job, from its submission on."""

    __slots__ = ("id", "source", "size", "seed", "state", "image", "error", "waiters")

    def __init__(self, number, source, size, seed):
        self.id, self.source, self.size, self.seed = number, source, size, seed
        self.state, self.image, self.error = "queued", None, None
        self.waiters = []


class Renderer:
    """Everything that touches the GPU; used by the worker thread alone."""

    def __init__(self):
        adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
        self.device = adapter.request_device_sync()
        self.adapter = adapter.info["device"]
        self.pipelines = {}
        self.targets = {}

    def pipeline(self, source):
        if source not in self.pipelines or not TUNED:
            module = self.device.create_shader_module(code=source)
            self.pipelines[source] = self.device.create_compute_pipeline(
                layout="auto", compute={"module": module, "entry_point": "main"}
            )
        return self.pipelines[source]

    def target(self, pipeline, size):
        if (pipeline, size) not in self.targets or not TUNED:
            texture = self.device.create_texture(
                size=(*size, 1),
                format="rgba8unorm",
                usage=wgpu.TextureUsage.STORAGE_BINDING | wgpu.TextureUsage.COPY_SRC,
            )
            uniform = self.device.create_buffer(size=32, usage=wgpu.BufferUsage.UNIFORM | wgpu.BufferUsage.COPY_DST)
            group = self.device.create_bind_group(
                layout=pipeline.get_bind_group_layout(0),
                entries=[
                    {"binding": 0, "resource": texture.create_view()},
                    {"binding": 1, "resource": {"buffer": uniform, "offset": 0, "size": 32}},
                ],
            )
            if not TUNED:
                return texture, uniform, group
            self.targets[(pipeline, size)] = (texture, uniform, group)
        return self.targets[(pipeline, size)]

    def render(self, job):
        width, height = job.size
        pipeline = self.pipeline(job.source)
        texture, uniform, group = self.target(pipeline, job.size)
        self.device.queue.write_buffer(uniform, 0, struct.pack("IfIIII8x", 0, 0.0, width, height, job.seed, 0))
        encoder = self.device.create_command_encoder()
        compute = encoder.begin_compute_pass()
        compute.set_pipeline(pipeline)
        compute.set_bind_group(0, group)
        compute.dispatch_workgroups((width + 15) // 16, (height + 15) // 16)
        compute.end()
        self.device.queue.submit([encoder.finish()])
        pixels = self.device.queue.read_texture(
            {"texture": texture}, {"bytes_per_row": 4 * width, "rows_per_image": height}, (width, height, 1)
        )
        pixels = numpy.frombuffer(pixels, numpy.uint8).reshape(height, width, 4)
        image = Image.fromarray(SRGB[pixels[:, :, :3]])
        file = io.BytesIO()
        image.save(file, "PNG", **({"compress_level": 1} if TUNED else {}))
        return file.getvalue()


jobs = {}
waiting = queue.Queue()


def work(loop, started):
    """The worker thread: one job after the other."""
    renderer = Renderer()
    print(f"adapter {renderer.adapter}", flush=True)
    loop.call_soon_threadsafe(started.set)
    while True:
        job = waiting.get()
        job.state = "running"
        try:
            job.image = renderer.render(job)
            job.state = "succeeded"
        except Exception as error:
            job.error = str(error)
            job.state = "failed"
        if job.waiters:
            loop.call_soon_threadsafe(finished, job)


def finished(job):
    for waiter in job.waiters:
        if not waiter.done():
            waiter.set_result(None)


@contextlib.asynccontextmanager
async def lifespan(_app):
    """Takes requests once the worker has its adapter."""
    started = asyncio.Event()
    threading.Thread(target=work, args=(asyncio.get_running_loop(), started), daemon=True).start()
    await started.wait()
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/jobs", status_code=202)
async def submit(request: Request, width: int, height: int, seed: int = 0, wait: float = 0):
    source = (await request.body()).decode()
    job = Job(len(jobs), source, (width, height), seed)
    jobs[job.id] = job
    waiter = asyncio.get_running_loop().create_future()
    if wait > 0:
        job.waiters.append(waiter)
    waiting.put(job)
    if wait > 0:
        await asyncio.wait([waiter], timeout=wait)
        if job.image:
            return Response(job.image, 200, media_type="image/png")
    return {"id": job.id, "state": job.state}


@app.get("/jobs/{number}")
async def show(number: int):
    job = jobs.get(number)
    return {"id": job.id, "state": job.state, "error": job.error} if job else Response(status_code=404)


@app.get("/jobs/{number}/image")
async def image(number: int):
    job = jobs.get(number)
    if not job or not job.image:
        return Response(status_code=404)
    return Response(job.image, media_type="image/png")
