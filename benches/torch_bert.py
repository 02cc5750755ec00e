# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["torch==2.7.0", "transformers==4.53.3", "numpy==2.3.5", "safetensors==0.8.0"]
# ///
"""PyTorch's side of benches/runtime.sh: one forward pass in f32 for every line on stdin.

    .cache/venv-oracle/bin/python benches/torch_bert.py MODEL_DIR [-S 128] [-B 1] [--threads N] [--attention sdpa|eager]

Prints `ready` and what runs, then for each line read the seconds of one pass: token ids in, last_hidden_state and pooler_output
out, no gradients, not compiled. The caller decides when, so that two programs can take turns on the same cores.
"""

import argparse
import os
import sys
import time

import torch
import transformers


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("-S", "--sequence-length", type=int, default=128)
    parser.add_argument("-B", "--batch-size", type=int, default=1)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    args = parser.parse_args()

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(args.threads)
    model = transformers.AutoModel.from_pretrained(
        args.model, torch_dtype=torch.float32, attn_implementation=args.attention, local_files_only=True
    ).eval()
    shape = (args.batch_size, args.sequence_length)
    ids = torch.randint(0, model.config.vocab_size, shape, generator=torch.Generator().manual_seed(0))
    inputs = dict(input_ids=ids, attention_mask=torch.ones(shape, dtype=torch.int64), token_type_ids=torch.zeros(shape, dtype=torch.int64))
    # A padded position: with an all-ones mask transformers leaves the mask out altogether.
    inputs["attention_mask"][:, -1] = 0
    with torch.inference_mode():
        model(**inputs)
        print(f"ready torch {torch.__version__} eager, {args.attention} attention, {args.threads} threads", flush=True)
        for _ in sys.stdin:
            began = time.perf_counter()
            model(**inputs)
            print(f"{time.perf_counter() - began:.6f}", flush=True)


if __name__ == "__main__":
    main()
