#!/usr/bin/env python3
"""Renders the reference of `render::the_cornell_box_matches_mitsuba` with Mitsuba 3 (PyPI `mitsuba`, variant scalar_rgb).

The geometry and the materials are those of `src/sample_scenes/cornell_box.rs` with purely diffuse surfaces
(`KHR_materials_specular` factor 0). Writes `cornell_box.f32`: 64 x 64 pixels, RGB, little-endian 32-bit floats, rows from the
top, scene-linear; and `cornell_box_variance.f32`: the variance of each pixel's mean, estimated from independent runs.
Usage: cornell_box.py [RUNS] (default 16 runs of 1024 samples).
"""
import sys
import numpy as np
import mitsuba as mi

mi.set_variant("scalar_rgb")
from mitsuba import ScalarTransform4f as T

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 16
SAMPLES = 1024
BOUNCES = 8


def diffuse(rgb):
    return {"type": "diffuse", "reflectance": {"type": "rgb", "value": rgb}}


white, red, green = diffuse([0.73] * 3), diffuse([0.65, 0.05, 0.05]), diffuse([0.12, 0.45, 0.15])


def quad(corner, u, v, bsdf, **more):
    """A parallelogram; its normal is u x v. Mitsuba's rectangle spans [-1, 1]^2 with normal +Z."""
    corner, u, v = (np.array(a, dtype=float) for a in (corner, u, v))
    normal = np.cross(u, v)
    normal /= np.linalg.norm(normal)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = u / 2, v / 2, normal
    matrix[:3, 3] = corner + u / 2 + v / 2
    return {"type": "rectangle", "to_world": T(matrix), "bsdf": bsdf, **more}


def block(centre, size, turn_deg):
    to_world = T().translate(centre).rotate([0, 1, 0], turn_deg).scale([s / 2 for s in size])
    return {"type": "cube", "to_world": to_world, "bsdf": white}


x, y, z = np.eye(3)
corner = np.array([-0.5, 0.0, -0.5])
scene = mi.load_dict({
    "type": "scene",
    "integrator": {"type": "path", "max_depth": BOUNCES + 1, "rr_depth": 64},
    "sensor": {
        "type": "perspective", "fov": 39.3, "fov_axis": "y",
        "to_world": T().look_at(origin=[0, 0.5, 1.94], target=[0, 0.5, 0], up=[0, 1, 0]),
        "film": {"type": "hdrfilm", "width": 64, "height": 64, "rfilter": {"type": "box"}, "component_format": "float32"},
        "sampler": {"type": "independent", "sample_count": SAMPLES},
    },
    "floor": quad(corner + z, x, -z, white),
    "ceiling": quad(corner + y, x, z, white),
    "back": quad(corner, x, y, white),
    "left": quad(corner + z, -z, y, red),
    "right": quad(corner + x, z, y, green),
    "lamp": quad([-0.125, 0.9985, -0.125], 0.25 * x, 0.25 * z, diffuse([0, 0, 0]),
                 emitter={"type": "area", "radiance": {"type": "rgb", "value": [17.0, 12.0, 4.0]}}),
    "short": block([0.18, 0.15, 0.17], [0.3, 0.3, 0.3], -17.0),
    "tall": block([-0.17, 0.3, -0.13], [0.3, 0.6, 0.3], 17.5),
})
runs = np.stack([np.array(mi.render(scene, seed=run)) for run in range(RUNS)])[..., :3]
runs.mean(axis=0).astype("<f4").tofile("cornell_box.f32")
(runs.var(axis=0, ddof=1) / RUNS).astype("<f4").tofile("cornell_box_variance.f32")
print(f"{RUNS} runs of {SAMPLES} samples, mean {runs.mean():.5f}")
