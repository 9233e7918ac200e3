"""What a service says of its answers in its OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

__all__ = ["BODY", "Answer", "Error", "Status", "responses"]


class Found(BaseModel):
    """An instance: one thing in the image."""

    category_id: int = Field(description="The class's number in the model, from 0")
    category: str = Field(description="The class's name")
    score: float = Field(ge=0, le=1)
    box: list[float] = Field(description="x1, y1, x2, y2 in pixels; of a rotated box x, y, width, height, degrees")
    mask: list[list[float]] | dict[str, Any] | None = Field(
        None, description="Outlines x0 y0 x1 y1 … in pixels, or COCO's run lengths"
    )
    keypoints: list[list[float]] | None = Field(None, description="x, y and score of each")


class Segment(BaseModel):
    """A segment of a panoptic segmentation."""

    id: int
    category_id: int
    category: str
    isthing: bool
    instance_id: int | None = Field(None, description="Of a thing, its index in the instances")
    score: float | None = None
    area: float | None = Field(None, description="In pixels")


class Stuff(BaseModel):
    """A class in a semantic segmentation."""

    category_id: int
    category: str
    area: int = Field(description="In pixels")


class Proposal(BaseModel):
    """A box that a model only proposes."""

    box: list[float]
    objectness_logit: float


class Answer(BaseModel):
    """All that was found in an image; a model has some of the keys."""

    height: int = Field(description="Of the image, upright, in pixels")
    width: int
    instances: list[Found] | None = None
    segments: list[Segment] | None = None
    stuff: list[Stuff] | None = None
    proposals: list[Proposal] | None = None


class Error(BaseModel):
    """Why there is no answer."""

    error: str


class Status(BaseModel):
    """How the service is."""

    status: str


_BOX = {"category_id": 0, "category": "text", "score": 0.98, "box": [70.1, 81.9, 523.6, 140.2]}
_COCO = {"image_id": 1, "category_id": 1, "bbox": [70.1, 81.9, 453.5, 58.3], "score": 0.98}
_BYTES = {"schema": {"type": "string", "format": "binary"}}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The image: its bytes alone (`curl --data-binary @photo.jpg`), or a form with one file "
        "(`curl -F image=@photo.jpg`). JPEG, PNG, BMP, GIF, PPM, WebP, TIFF, JPEG 2000 or AVIF, whatever it is called.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": {"type": "string", "format": "binary"}},
                    "required": ["image"],
                }
            },
            "image/*": _BYTES,
            "application/octet-stream": _BYTES,
        },
    }
}
_ERRORS = {
    400: "the upload is no image of a format that is opened",
    408: "the request did not arrive within 60 seconds",
    413: "the image has 9000 × 9000 pixels: at most 25,000,000 are taken",
    422: "threshold is '2': Input should be less than or equal to 1",
    500: "the service failed at this image; its log says why",
    503: "32 requests are worked on or wait already: try again",
}


def responses() -> dict[int | str, dict[str, Any]]:
    """Describe the answers of /predict, with an example of each."""
    answers: dict[str, Any] = {
        "json": {"summary": "format=json", "value": {"height": 842, "width": 595, "instances": [_BOX]}},
        "coco": {"summary": "format=coco", "value": [_COCO]},
    }
    described: dict[int | str, dict[str, Any]] = {
        200: {
            "description": "What was found",
            "model": Answer,
            "content": {"application/json": {"examples": answers}, "image/png": _BYTES},
        }
    }
    for status, example in _ERRORS.items():
        described[status] = {
            "description": "No answer",
            "model": Error,
            "content": {"application/json": {"example": {"error": example}}},
        }
    return described
