# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["torch==2.7.0", "transformers==4.53.3", "numpy==2.3.5", "safetensors==0.8.0"]
# ///
"""PyTorch's side of benches/verify.sh: all texts of a file through a model in f32, for every line on stdin.

    .cache/venv-oracle/bin/python benches/torch_texts.py MODEL_DIR TEXTS [-S 128] [-B 1] [--threads N]

Prints `ready` and what runs, then for each line read the seconds of the forward passes alone: the model is loaded and the texts
are tokenized and padded to S before. No gradients, not compiled, fused attention.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import torch
import transformers


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("texts", type=Path)
    parser.add_argument("-S", "--sequence-length", type=int, default=128)
    parser.add_argument("-B", "--batch-size", type=int, default=1)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(args.threads)
    load = dict(torch_dtype=torch.float32, attn_implementation="sdpa", local_files_only=True)
    model = transformers.AutoModel.from_pretrained(args.model, **load).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model, local_files_only=True)
    rows = [tuple(line.split("\t", 1)) if "\t" in line else (line, None) for line in args.texts.read_text(encoding="utf-8").splitlines()]

    def tokenized(rows):
        # Texts and pairs don't mix in one call.
        encoded = [tokenizer(*row, padding="max_length", truncation=True, max_length=args.sequence_length, return_tensors="pt") for row in rows]
        return {name: torch.cat([row[name] for row in encoded]) for name in encoded[0]}

    batches = [tokenized(rows[first : first + args.batch_size]) for first in range(0, len(rows), args.batch_size)]
    with torch.inference_mode():
        model(**batches[0])
        print(f"ready torch {torch.__version__}, {len(rows)} texts, batch {args.batch_size}, {args.threads} threads", flush=True)
        for _ in sys.stdin:
            began = time.perf_counter()
            for batch in batches:
                model(**batch)
            print(f"{time.perf_counter() - began:.6f}", flush=True)


if __name__ == "__main__":
    main()
