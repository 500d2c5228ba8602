#!/usr/bin/env python3
"""qlite's codes beside those of auto-gptq, gptqmodel and hqq: docs/methods.md, "Beside the published implementations".

  compare.py CODES [LAYER.npz...]      CODES: codes.cpp, built; LAYER.npz: W [N, K] and X [M, K], float32
"""
import importlib.util, itertools, subprocess, sys, tempfile, types
import numpy as np, torch
from gptqmodel.quantization import GPTQ as ModelGPTQ, QuantizeConfig
from hqq.core.quantize import Quantizer as HQQ
path = importlib.util.find_spec("auto_gptq").submodule_search_locations
sys.modules["auto_gptq"] = types.ModuleType("auto_gptq")    # its __init__ needs a transformers of 2024
sys.modules["auto_gptq"].__path__ = path
from auto_gptq.quantization import gptq as published
torch.cuda.synchronize = lambda *_: None    # called whatever the device is

def layers(paths):
    g = torch.Generator().manual_seed(1)
    normal = lambda *shape: torch.randn(*shape, generator=g)
    yield "normal 64 x 256", normal(64, 256), normal(1024, 256)
    mix = normal(512, 512) / 16 + torch.eye(512)
    yield "correlated 128 x 512", normal(128, 512), normal(2048, 512) @ mix
    W, X = normal(128, 512), normal(2048, 512) @ mix * torch.exp(normal(512))
    yield "dead inputs 128 x 512", W, X * (torch.rand(512, generator=g) >= 0.05)
    for path in paths:
        yield path, torch.tensor(np.load(path)["W"]), torch.tensor(np.load(path)["X"])

def qlite(method, group, W, X):
    n, k = W.shape
    with tempfile.TemporaryDirectory() as d:
        W.numpy().tofile(d + "/w"), X.numpy().tofile(d + "/x")
        subprocess.run([sys.argv[1], method, str(group), str(n), str(k), d + "/w", d + "/x", d + "/q"], check=True)
        data = torch.from_numpy(np.fromfile(d + "/q", "f4"))
    return [part.view(n, -1) for part in (data[:n * k], *data[n * k:].chunk(2))]

class Wide(published.Quantizer):    # float for a group's numbers and for quotients; the rest of the run is in double
    def find_params(self, x, weight=False):
        torch.set_default_dtype(torch.float32)
        super().find_params(x.to(torch.float32), weight)
        torch.set_default_dtype(torch.float64)
    def quantize(self, x):
        q = torch.clamp(torch.round(x.to(torch.float32) / self.scale) + self.zero, 0, self.maxq)
        return self.scale.double() * (q - self.zero)

def gptq(W, X, group, sym, order, peer):
    as_float, layer, spread = torch.Tensor.float, torch.nn.Linear(*W.shape[::-1], bias=False), order and group > 0
    layer.weight.data = W.clone()
    if peer == "gptqmodel":
        run = ModelGPTQ(layer, QuantizeConfig(bits=4, group_size=group or -1, sym=sym, desc_act=order,
                                              static_groups=spread, act_group_aware=False, damp_percent=0.01))
        run.quantizer.configure(perchannel=True)
        run.add_batch(X[None], None)
        Q, scale, zero, *_ = run.quantize()
    else:
        if peer == "double":
            layer.weight.data, X, torch.Tensor.float = W.double(), X.double(), torch.Tensor.double
            torch.set_default_dtype(torch.float64)
        run = published.GPTQ(layer)
        run.quantizer = Wide() if peer == "double" else published.Quantizer()
        run.quantizer.configure(4, perchannel=True, sym=sym)
        run.add_batch(X, None)
        scale, zero, _ = run.fasterquant(group_size=group or -1, actorder=order, static_groups=spread)
        Q, torch.Tensor.float = layer.weight.data, as_float
        torch.set_default_dtype(torch.float32)
    each = lambda v: v.repeat_interleave(group or W.shape[1], 1)
    return torch.round(Q / each(scale)) + each(zero)

torch.set_grad_enabled(False)
for name, W, X in layers(sys.argv[2:]):
    for a, b in (("qlite", "double"), ("qlite", "auto-gptq"), ("auto-gptq", "double"), ("qlite", "gptqmodel"),
                 ("qlite rows", "gptqmodel")):    # rows: each input a batch of its own
        codes = rows = most = 0
        for group, sym, order in itertools.product((32, 128, 0), (True, False), (False, True)):
            method = ("sym" if sym else "asym") + order * " order" + a[5:]
            p = qlite(method, group, W, X)[0] if "qlite" in a else gptq(W, X, group, sym, order, a)
            d = (p - gptq(W, X, group, sym, order, b)).abs()
            codes, rows, most = codes + int((d > 0).sum()), rows + int((d > 0).any(1).sum()), max(most, int(d.max()))
        print(f"GPTQ {name}: {a}, {b}: {codes} of {12 * W.numel()} codes in {rows} of {12 * len(W)} rows, by <= {most}")
    for start, group in itertools.product((True, False), (32, 64, 128)):
        theirs = HQQ.quantize(W, 4, group_size=group, axis=1, optimize=not start, bitpack=False, device="cpu")[0]
        d = (qlite("hqq" + start * " start", group, W, X)[0] - theirs.view(W.shape)).abs()
        print(f"HQQ{start * ' start'} {name} g{group}: {int((d > 0).sum())} of {W.numel()} codes, by <= {int(d.max())}")
