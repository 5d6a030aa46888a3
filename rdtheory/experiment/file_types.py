"""A network nobody here trained: the one with which `magika` tells the type of a file from its first and last bytes.

Bytes are looked up in a table, four of them are one position of 256 channels; a convolution over five positions, the
largest of each feature over all positions, and a dense layer. The weights come with the package, whose code is never
imported; what the network sees is files that every installation of Python has.
"""

import importlib.util
import json
import sysconfig
import zlib
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike
from jaxtyping import Float, Int

from rdtheory import _checks
from rdtheory.codec import files as arrays

__all__ = ["apply", "features", "files", "inputs", "labels", "layer_inputs", "load", "patches"]

MODEL = ("models", "standard_v3_3")
BLOCK, SEEN, NOTHING = 4096, 1024, 256  # bytes read from either end, bytes seen of these, the token of no byte
LEAST = 8  # bytes of a file that the network is asked about
NAMES = {  # ends of names in the file of the network
    "embedding/table": ("/Const:0", (257, 64)),
    "embedding/bias": ("Dense_0/Reshape:0", (1, 1, 64)),
    "norm/scale": ("LayerNorm_0/Reshape_2:0", (1, 512, 1)),
    "norm/offset": ("LayerNorm_0/Reshape_3:0", (1, 512, 1)),
    "convolution/kernel": ("Conv_0/transpose_3:0", (512, 256, 5, 1)),
    "convolution/bias": ("const_fold_opt__209", (1, 512, 1)),
    "last norm/scale": ("LayerNorm_1/Reshape_2:0", (1, 512)),
    "last norm/offset": ("LayerNorm_1/Reshape_3:0", (1, 512)),
    "dense/kernel": ("/Const_24:0", (512, 214)),
    "dense/bias": ("Dense_1/Reshape:0", (1, 214)),
}


def load() -> dict[str, np.ndarray]:
    """The weights, in float32.

    Raises
    ------
    ModuleNotFoundError : magika is not installed.
    ValueError : its network is another one.

    Examples
    --------
    >>> params = load()
    >>> print(sum(w.size for w in params.values()), params["convolution/kernel"].shape)
    784214 (512, 256, 5)
    """
    path = _folder() / "model.onnx"
    found, params = arrays.read(path)[0], {}
    for name, (end, shape) in NAMES.items():
        alike = [array for key, array in found.items() if key.endswith(end) and array.shape == shape]
        if len(alike) != 1:
            raise ValueError(
                f"{path} has {len(alike)} arrays of shape {shape} named ...{end}, not one: this is another network; "
                "install 'rdtheory[filetypes]' again"
            )
        params[name] = alike[0].squeeze()
    return params


def labels() -> list[str]:
    """What each output of the network stands for.

    Examples
    --------
    >>> print(len(labels()), labels()[:4])
    214 ['3gp', 'ace', 'ai', 'aidl']
    """
    return json.loads((_folder() / "config.min.json").read_text(encoding="utf-8"))["target_labels_space"]


def apply(params: dict[str, ArrayLike], content: Int[ArrayLike, "n 2048"]) -> Float[Array, "n 214"]:
    """Logits of the types.

    Parameters
    ----------
    params : from `load`, or the same arrays compressed.
    content : of each file, from `features` or `inputs`.

    Examples
    --------
    >>> seen = features(Path(__file__).read_bytes())
    >>> labels()[int(apply(load(), seen[None])[0].argmax())]
    'python'
    """
    x = layer_inputs(params, content)[1]
    return x @ jnp.asarray(params["dense/kernel"]) + jnp.asarray(params["dense/bias"])[None, :]


def layer_inputs(
    params: dict[str, ArrayLike], content: Int[ArrayLike, "n 2048"]
) -> tuple[Float[Array, "n 512 256"], Float[Array, "n 512"]]:
    """What the convolution and the dense layer see of each file.

    Examples
    --------
    >>> convolution, dense = layer_inputs(load(), inputs(files()[:2]))
    >>> print(convolution.shape, dense.shape)
    (2, 512, 256) (2, 512)
    """
    params = jax.tree.map(jnp.asarray, params)
    x = jax.nn.gelu(params["embedding/table"][content] + params["embedding/bias"][None, None, :])
    x = _normalized(x.reshape(-1, 512, 256))
    seen = x * params["norm/scale"][None, :, None] + params["norm/offset"][None, :, None]
    x = _convolution(seen, params["convolution/kernel"]) + params["convolution/bias"][None, None, :]
    x = _normalized(jnp.max(jax.nn.gelu(x), axis=1))
    return seen, x * params["last norm/scale"][None, :] + params["last norm/offset"][None, :]


def features(content: bytes) -> Int[np.ndarray, "2048"]:
    """What the network sees of bytes: the first 1024 that are no white space, and the last, filled up with 256.

    Examples
    --------
    >>> print(features(b" ab ")[[0, 1, 2, 3, 1024, -3, -2, -1]])
    [ 97  98  32 256 256  32  97  98]
    """
    seen = np.full(2 * SEEN, NOTHING, np.int32)
    first, last = content[:BLOCK].lstrip()[:SEEN], content[-BLOCK:].rstrip()[-SEEN:]
    seen[: len(first)] = np.frombuffer(first, np.uint8)
    seen[2 * SEEN - len(last) :] = np.frombuffer(last, np.uint8)
    return seen


def files() -> list[Path]:
    """Files of the standard library and of installed packages, kinds taking turns, always in the same order.

    Compiled byte code, which comes and goes, is left out.

    Examples
    --------
    >>> found = files()
    >>> print(len(found) > 1000, len({path.suffix for path in found[:30]}) > 10)
    True True
    """
    kinds: dict[str, list[tuple[int, Path]]] = {}
    roots = {name: Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")}
    for name, root in roots.items():
        for path in root.rglob("*"):
            here = path.relative_to(root)
            apart = "__pycache__" in here.parts or (name == "stdlib" and "site-packages" in here.parts)
            if not apart and path.is_file() and path.stat().st_size >= LEAST:
                kinds.setdefault(path.suffix, []).append((zlib.crc32(here.as_posix().encode()), path))
    turns = [(turn, kind, path) for kind, some in kinds.items() for turn, (_, path) in enumerate(sorted(some))]
    return [path for *_, path in sorted(turns)]


def inputs(paths: Sequence[Path], *, each: int = 1) -> Int[np.ndarray, "n 2048"]:
    """What the network sees of files, each cut into equal pieces of at least 4096 bytes, at most so many.

    Examples
    --------
    >>> inputs(files()[:5]).shape
    (5, 2048)
    """
    most, seen = _checks.count("each", each, 1), []
    for path in paths:
        size = path.stat().st_size
        count = max(min(most, size // BLOCK), 1)
        with path.open("rb") as stream:
            for piece in range(count):
                start, end = size * piece // count, size * (piece + 1) // count
                stream.seek(start)
                first = stream.read(min(BLOCK, end - start))
                stream.seek(max(end - BLOCK, start))
                last = stream.read(min(BLOCK, end - start))
                seen.append(np.concatenate([features(first)[:SEEN], features(last)[SEEN:]]))
    return np.stack(seen)


def patches(
    channels: Float[ArrayLike, "n 512 256"], positions: Int[ArrayLike, "n some"]
) -> Float[np.ndarray, "rows 1280"]:
    """Rows that the kernel of the convolution meets at some positions of each file, channels first as it has them.

    Examples
    --------
    >>> patches(np.ones((3, 512, 256)), np.zeros((3, 2), int)).shape
    (6, 1280)
    """
    taps = np.asarray(positions)[:, :, None] + np.arange(5)
    rows = np.asarray(channels)[np.arange(len(taps))[:, None, None], taps]
    return np.swapaxes(rows, 2, 3).reshape(-1, 1280)


def _convolution(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(x, kernel, (1,), "VALID", dimension_numbers=("NWC", "OIW", "NWC"))


def _normalized(x: Array) -> Array:
    """Mean 0 and variance 1 along the second axis.

    The variance in the form that the weights were fitted with, which cancels where channels hardly change.
    """
    mean = jnp.mean(x, axis=1, keepdims=True)
    variance = jnp.mean(x * x, axis=1, keepdims=True) - mean * mean
    return (x - mean) * lax.rsqrt(jnp.maximum(variance, 0.0) + 1e-6)


def _folder() -> Path:
    package = importlib.util.find_spec("magika")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError(
            "this network comes with magika; install it with: pip install 'rdtheory[filetypes]'", name="magika"
        )
    return Path(package.submodule_search_locations[0], *MODEL)
