from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from retort.models.bundle import Bundle
from retort.models.runtime.base import BackendInfo, BackendUnavailable
from retort.models.runtime.onnxruntime import OnnxRuntimeBackend, Provider, open_session

HERE = onnxruntime.get_available_providers()
on_the_cpu_alone = pytest.mark.skipif(
    "CUDAExecutionProvider" in HERE, reason="this onnxruntime has CUDA"
)


@on_the_cpu_alone
@pytest.mark.parametrize(
    ("provider", "name"),
    [("cuda", "CUDAExecutionProvider"), ("tensorrt", "TensorrtExecutionProvider")],
)
def test_a_provider_that_is_not_there_is_refused(
    tiny_bundle: Bundle, tmp_path: Path, provider: Provider, name: str
) -> None:
    with pytest.raises(BackendUnavailable, match=f"has no {name}, it has .*CPUExecution"):
        OnnxRuntimeBackend(
            tiny_bundle.graph_path, provider=provider, precision="fp16", kept=tmp_path / "kept"
        )
    assert not (tmp_path / "kept").exists()


@on_the_cpu_alone
def test_the_cpu_is_not_taken_in_silence(tiny_bundle: Bundle) -> None:
    # ONNX Runtime warns, and would go on with the CPU.
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(BackendUnavailable, match="but CPUExecutionProvider is what runs"),
    ):
        open_session(tiny_bundle.graph_path, "cuda", {})


@pytest.mark.parametrize("provider", ["cpu", "cuda", "tensorrt"])
def test_no_provider_has_bf16(tiny_bundle: Bundle, provider: Provider) -> None:
    with pytest.raises(BackendUnavailable, match=f"onnxruntime on {provider} has no bf16"):
        OnnxRuntimeBackend(tiny_bundle.graph_path, provider=provider, precision="bf16")


def test_it_says_what_runs(tiny_bundle: Bundle) -> None:
    backend = OnnxRuntimeBackend(tiny_bundle.graph_path, threads=1)
    assert backend.info == BackendInfo("onnxruntime", "cpu", "fp32")
    assert not backend.cuda_graphs
