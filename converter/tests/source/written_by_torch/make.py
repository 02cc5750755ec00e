# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["torch==2.7.0", "numpy==2.3.5"]
# ///
"""Makes the files beside it: what torch.save writes for tensors of every kind, and files corer must refuse.

    fixtures/python-env.sh oracle && .cache/venv-oracle/bin/python converter/tests/source/written_by_torch/make.py
"""

import collections
import os
import zipfile
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
GRID = torch.arange(12, dtype=torch.float32).reshape(3, 4) - 5.5

KINDS = collections.OrderedDict(
    f32=GRID,
    f16=GRID.half(),
    bf16=GRID.bfloat16(),
    f64=GRID.double(),
    transposed=GRID.t(),
    transposed_half=GRID.half().t(),
    second_row=GRID[1],
    last_rows=GRID[1:],
    parameter=torch.nn.Parameter(GRID.clone()),
    frozen=torch.nn.Parameter(GRID.clone(), requires_grad=False),
    scalar=torch.tensor(2.5),
    empty=torch.zeros(0, 7),
    one_row=torch.arange(4.0).expand(1, -1),
    i64=torch.arange(3),
    i32=torch.arange(3, dtype=torch.int32),
    i16=torch.arange(3, dtype=torch.int16),
    i8=torch.arange(3, dtype=torch.int8),
    u8=torch.arange(3, dtype=torch.uint8),
    u16=torch.arange(3).to(torch.uint16),
    boolean=torch.tensor([True, False]),
    f8=torch.ones(2).to(torch.float8_e4m3fn),
)


class Spiteful:
    """What a malicious file does: a call in place of a tensor."""

    def __reduce__(self):
        return os.system, ("echo this must never run > /tmp/corer-ran-a-pickle",)


def rezip(name, compression, change=lambda name, data: data):
    """kinds.bin as Python's zip writer packs it."""
    with zipfile.ZipFile(HERE / "kinds.bin") as source, zipfile.ZipFile(HERE / name, "w", compression) as target:
        for entry in source.infolist():
            target.writestr(zipfile.ZipInfo(entry.filename), change(entry.filename, source.read(entry)), compression)


def main():
    torch.save(KINDS, HERE / "kinds.bin")
    torch.save(KINDS, HERE / "kinds_protocol_4.bin", pickle_protocol=4)
    torch.save(KINDS, HERE / "kinds_protocol_5.bin", pickle_protocol=5)
    torch.save(KINDS, HERE / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"weight": GRID, "spiteful": Spiteful()}, HERE / "spiteful.bin")
    torch.save({"epoch": 3, "state_dict": {"weight": GRID}}, HERE / "training.bin")
    torch.save({"epoch": 3, "weight": GRID}, HERE / "with_a_number.bin")
    torch.save([GRID], HERE / "list.bin")
    torch.save(torch.nn.Linear(2, 2), HERE / "module.bin")
    torch.save({"weight": GRID.expand(2, 3, 4)}, HERE / "expanded.bin")
    torch.save({"weight": GRID.to_sparse()}, HERE / "sparse.bin")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), HERE / "script.bin")
    rezip("rezipped.bin", zipfile.ZIP_STORED)
    rezip("deflated.bin", zipfile.ZIP_DEFLATED)
    rezip("big_endian.bin", zipfile.ZIP_STORED, lambda n, data: b"big" if n.endswith("/byteorder") else data)
    torch.serialization.set_crc32_options(False)
    torch.save(KINDS, HERE / "no_checksums.bin")


if __name__ == "__main__":
    main()
