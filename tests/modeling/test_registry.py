"""Registries: components by name, and the names that there are not."""

import pytest
from tiny_models import tiny_cfg

from litepred.errors import ConfigError
from litepred.modeling import (
    BACKBONE_REGISTRY,
    Registry,
    build_model,
)


def test_an_empty_registry():
    registry = Registry("PLANT_REGISTRY")
    assert list(registry) == []
    assert "Fern" not in registry
    with pytest.raises(ConfigError, match=r"^Nothing of that name .* PLANT_REGISTRY: expected \(it is empty\)"):
        registry.get("Fern")


def test_registering():
    registry = Registry("PLANT_REGISTRY", "GARDEN.PLANT")

    @registry.register()
    class Fern:
        pass

    def moss():
        pass

    assert registry.register(moss) is moss
    assert registry.register(moss) is moss  # the same thing again is no harm
    assert registry.get("Fern") is Fern
    assert registry.get("moss") is moss
    assert dict(registry) == {"Fern": Fern, "moss": moss}
    assert "Fern" in registry
    assert repr(registry) == "Registry PLANT_REGISTRY: Fern, moss"
    with pytest.raises(ConfigError, match="'moss' is already registered in PLANT_REGISTRY"):
        registry.register(type("moss", (), {}))


@pytest.mark.parametrize("error", [ConfigError, KeyError, ValueError])
def test_an_unknown_name_is_an_error_of_many_kinds(error):
    with pytest.raises(error) as caught:
        BACKBONE_REGISTRY.get("build_resnet_fpn_backbones")
    message = str(caught.value)
    assert message.startswith("MODEL.BACKBONE.NAME is 'build_resnet_fpn_backbones', but nothing of that name")
    assert "expected build_resnet_fpn_backbone, " in message
    assert "@BACKBONE_REGISTRY.register()" in message


@pytest.mark.parametrize(
    ("family", "changes", "near"),
    [
        ("fpn", {"META_ARCHITECTURE": "GeneralisedRCNN"}, "GeneralizedRCNN"),
        ("fpn", {"META_ARCHITECTURE": "FCOS"}, "ProposalNetwork, RetinaNet"),  # nothing is near: all are named
        ("fpn", {"BACKBONE__NAME": "build_resnet_fpn"}, "build_resnet_fpn_backbone"),
        ("fpn", {"PROPOSAL_GENERATOR__NAME": "FasterRPN"}, "RPN"),
        ("fpn", {"RPN__HEAD_NAME": "StandardRPN"}, "StandardRPNHead"),
        ("fpn", {"ANCHOR_GENERATOR__NAME": "AnchorGenerator"}, "DefaultAnchorGenerator"),
        ("fpn", {"ROI_HEADS__NAME": "StandardROIHead"}, "StandardROIHeads"),
        ("fpn", {"ROI_BOX_HEAD__NAME": ""}, "FastRCNNConvFCHead"),
        ("fpn", {"ROI_MASK_HEAD__NAME": "MaskRCNNHead", "MASK_ON": True}, "MaskRCNNConvUpsampleHead"),
        ("fpn", {"ROI_KEYPOINT_HEAD__NAME": "KRCNN", "KEYPOINT_ON": True}, "KRCNNConvDeconvUpsampleHead"),
        ("semantic", {"SEM_SEG_HEAD__NAME": "SemSegHead"}, "SemSegFPNHead"),
    ],
)
def test_unknown_names_in_a_config(family, changes, near):
    key, name = next(iter(changes.items()))
    with pytest.raises(ConfigError, match=f"MODEL.{key.replace('__', '.')} is '{name}'.*expected .*{near}"):
        build_model(tiny_cfg(family, **changes))
