"""Models outside of torch: written as one ONNX file, and run by ONNX Runtime or OpenVINO in `Predictor`.

Needs ``pip install litepred[onnx]`` (and ``[openvino]`` for that engine). Nothing is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import extensions

if TYPE_CHECKING:
    from .onnx_file import ExportReport, export_onnx
    from .quantize import QuantizationReport, quantize_onnx

__all__ = ["ExportReport", "QuantizationReport", "export_onnx", "quantize_onnx"]

extensions.announce(
    model_files={".onnx": "litepred.export.metadata:read_header"},
    engines={
        "onnxruntime": "litepred.export.engine_model:build_engine_model",
        "openvino": "litepred.export.engine_model:build_engine_model",
    },
)


__getattr__ = extensions.imported_when_used(__name__, __all__, ("onnx_file", "quantize"))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
