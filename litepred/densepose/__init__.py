"""DensePose (Güler et al. 2018): each pixel of a person mapped to a part of the body and a place on its surface.

The models are those of charts (IUV). A config that names them is all that `Predictor` needs; the names here turn the
instances into results, and the results into pictures. Nothing is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import extensions

if TYPE_CHECKING:
    from .config import add_densepose_config
    from .converters import (
        DensePoseResultExtractor,
        ToChartResultConverter,
        ToChartResultConverterWithConfidences,
        ToMaskConverter,
    )
    from .roi_heads import DensePoseROIHeads
    from .structures import (
        DensePoseChartPredictorOutput,
        DensePoseChartPredictorOutputWithConfidences,
        DensePoseChartResult,
        DensePoseChartResultWithConfidences,
    )
    from .vis import draw

__all__ = [
    "DensePoseChartPredictorOutput",
    "DensePoseChartPredictorOutputWithConfidences",
    "DensePoseChartResult",
    "DensePoseChartResultWithConfidences",
    "DensePoseROIHeads",
    "DensePoseResultExtractor",
    "ToChartResultConverter",
    "ToChartResultConverterWithConfidences",
    "ToMaskConverter",
    "add_densepose_config",
    "draw",
]

_CHARTS_ONLY = (
    "predicts continuous surface embeddings (CSE): of DensePose, litepred runs the models of charts (IUV) only"
)
extensions.announce(
    components={"DensePoseROIHeads": "litepred.densepose.roi_heads"},
    config_sections={"MODEL.ROI_DENSEPOSE_HEAD": "litepred.densepose.config:add_densepose_config"},
    refused={
        "DensePoseEmbeddingPredictor": _CHARTS_ONLY,
        "DensePoseEmbeddingWithConfidencePredictor": _CHARTS_ONLY,
        "build_hrfpn_backbone": "is an HRNet, which litepred does not have: of DensePose, it runs models on a ResNet "
        "only",
    },
)

__getattr__ = extensions.imported_when_used(
    __name__, __all__, ("config", "converters", "roi_heads", "structures", "vis")
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
