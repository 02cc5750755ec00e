"""Makes the files beside it: what torch.export.save of this version writes for what exports may hold, and the graph as PyTorch knows it.

    python converter/tests/export/written_by_torch/make.py

Run once with each version of PyTorch whose files are wanted (2.5.1 to 2.9.1 and 2.15.0 made those in git); needs torch and
numpy. `<version>.pt2` is the archive, `<version>.json` the nodes, inputs and outputs of `ExportedProgram.graph`, and every
parameter, buffer and constant of it, told by PyTorch without its serializer.
"""

import json
import re
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
VERSION = re.match(r"\d+\.\d+", torch.__version__).group()


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = torch.nn.Linear(4, 8)

    def forward(self, x):
        # A list of two, one of one, and a tuple of which one part is not used.
        left, right = self.dense(x).chunk(2, -1)
        (whole,) = right.split(4, -1)
        largest, _ = whole.max(-1, keepdim=True)
        return left * whole + largest


class Corners(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(7, 4)
        self.blocks = torch.nn.ModuleList([Block()])
        self.head = torch.nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight
        # Stored as a transpose, and as the second half of another's storage.
        self.turned = torch.nn.Parameter(torch.randn(3, 4).t())
        pair = torch.randn(2, 4)
        self.register_buffer("first", pair[0])
        self.register_buffer("second", pair[1])
        self.register_buffer("positions", torch.arange(16)[None], persistent=False)
        self.register_buffer("short", torch.tensor([0.5, 2.0], dtype=torch.float16), persistent=False)

    # Not `self`: module paths start with this variable's name in some versions.
    def forward(s, ids, mask=None, *, extra, flag=True, nothing=None):
        rows, tokens = ids.shape
        x = s.embed(ids) + s.first * s.second
        # The same module twice.
        for _ in range(2):
            x = s.blocks[0](x)
        here = s.positions[:, :tokens]
        with torch.no_grad():
            scale = here.to(torch.float32).mean() * s.short.to(torch.float32).sum()
        with torch.autocast(device_type="cpu", enabled=False):
            x = x * scale
        x = x.masked_fill(mask[:, :, None] == 0, float("-inf")).clamp(min=-1e4)
        pairs = x.reshape(rows, tokens * 2, 2)
        named = torch.tensor([1.0, 2.0, 3.0]) + extra["shift"]
        return {"logits": s.head(x), "rest": (pairs.sum((1, 2)), None), "turned": x @ s.turned + named}


def plain(value):
    """A value of the graph, as JSON has it."""
    if isinstance(value, torch.fx.Node):
        return {"node": value.name}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def size(value):
    return value if isinstance(value, int) else {"symbol": str(value), "example": value.node.hint}


def meta(node):
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return None
    return {"dtype": str(value.dtype), "shape": [size(s) for s in value.shape]}


def flat(module, names):
    """Nodes in order, the graphs of wrappers in their place under the names they have outside."""
    for node in module.graph.nodes:
        wrapped = node.op == "call_function" and str(node.target).startswith("wrap_with")
        if wrapped:
            inner = next(a for a in node.args if isinstance(a, torch.fx.Node) and a.op == "get_attr")
            yield from flat(getattr(module, inner.target), names)
        elif node.op == "call_function":
            stack = list(node.meta.get("nn_module_stack", {}).values())
            yield {"name": node.name, "target": str(node.target), "scope": stack[-1][0] if stack else "", "meta": meta(node)}


def main():
    torch.manual_seed(0)
    model = Corners().eval()
    rows, tokens = torch.export.Dim("rows", min=1, max=4), torch.export.Dim("tokens", min=2, max=15)
    example = (torch.randint(0, 7, (2, 5)),)
    named = {"mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]), "extra": {"shift": torch.randn(3)}}
    shapes = {
        "ids": {0: rows, 1: tokens},
        "mask": {0: rows, 1: tokens},
        "extra": {"shift": None},
    }
    program = torch.export.export(model, example, named, dynamic_shapes=shapes, strict=False)
    for module in program.graph_module.modules():
        for node in module.graph.nodes if hasattr(module, "graph") else []:
            # Lines of source, with paths of this machine.
            node.meta.pop("stack_trace", None)
    torch.export.save(program, HERE / f"{VERSION}.pt2")

    tensors = {**program.state_dict, **program.constants}
    told = {
        "nodes": list(flat(program.graph_module, {})),
        "inputs": [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"],
        "tensors": {
            spec.target: {"dtype": str(t.dtype), "shape": list(t.shape), "values": t.double().flatten().tolist()}
            for spec in program.graph_signature.input_specs
            if spec.kind.name in ("PARAMETER", "BUFFER", "CONSTANT_TENSOR")
            for t in [tensors[spec.target].detach()]
        },
        "range_constraints": {str(k): [int(v.lower), int(v.upper)] for k, v in program.range_constraints.items()},
        "outputs": [plain(arg) for arg in next(n for n in program.graph.nodes if n.op == "output").args[0]],
    }
    (HERE / f"{VERSION}.json").write_text(json.dumps(told, indent=1) + "\n")
    print(VERSION, len(told["nodes"]), "nodes", told["range_constraints"])


if __name__ == "__main__":
    main()
