# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["torch==2.7.0", "transformers==4.53.3", "numpy==2.3.5", "safetensors==0.8.0", "coremltools==9.0"]
# ///
"""Converts a checkpoint directory with coremltools, as its users do: load, trace, convert. The package corer is compared with.

    .cache/venv-oracle/bin/python conformance/peer_package.py MODEL_DIR -o X.mlpackage [-S 128] [--precision fp16]

Attention is `sdpa`: with `eager`, float32's lowest number in the mask becomes -inf in fp16 and every answer NaN
(apple/coremltools#2669). Inputs are int32 input_ids, attention_mask and token_type_ids of shape (batch, S); outputs have
their Hugging Face names; with modules.json the sentence embedding comes last.
"""

import argparse
import logging
import sys
import warnings
from pathlib import Path

logging.disable(logging.WARNING)
warnings.filterwarnings("ignore")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fixtures"))

import coremltools as ct  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

import recording  # noqa: E402
from sentence_pooling import sentence_embedding, transformer_folder  # noqa: E402

TARGETS = {"ios16": ct.target.iOS16, "ios17": ct.target.iOS17, "ios18": ct.target.iOS18, "ios26": ct.target.iOS26}
PRECISIONS = {"fp16": ct.precision.FLOAT16, "fp32": ct.precision.FLOAT32}


class Flat(torch.nn.Module):
    """The model with positional inputs and a tuple of outputs, which is what tracing sees."""

    def __init__(self, model, directory):
        super().__init__()
        self.model = model
        self.directory = directory
        self.names = None

    def forward(self, input_ids, attention_mask, token_type_ids):
        out = dict(self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).items())
        if "last_hidden_state" in out:
            embedding = sentence_embedding(self.directory, out["last_hidden_state"], attention_mask)
            if embedding is not None:
                out["sentence_embedding"] = embedding
        self.names = list(out)
        return tuple(out.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("-S", "--sequence-length", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--target", choices=TARGETS, default="ios18")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp16")
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    args = parser.parse_args()

    transformers.logging.set_verbosity_error()
    task = recording.task_of(args.model)
    model = recording.MODELS[task].from_pretrained(
        transformer_folder(args.model),
        torch_dtype=torch.float32,
        attn_implementation=args.attention,
        local_files_only=True,
    )
    flat = Flat(model.eval(), args.model).eval()
    shape = (args.batch_size, args.sequence_length)
    # A mask with a zero in it: transformers leaves an all-ones mask out of the trace.
    example = [torch.zeros(shape, dtype=torch.int64), torch.ones(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)]
    example[1][:, -1] = 0
    with torch.no_grad():
        flat(*example)
        traced = torch.jit.trace(flat, example, strict=False)
    package = ct.convert(
        traced,
        inputs=[ct.TensorType(name=n, shape=shape, dtype=np.int32) for n in recording.INPUTS],
        outputs=[ct.TensorType(name=n) for n in flat.names],
        minimum_deployment_target=TARGETS[args.target],
        compute_precision=PRECISIONS[args.precision],
        skip_model_load=True,
    )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    package.save(str(args.output))


if __name__ == "__main__":
    main()
