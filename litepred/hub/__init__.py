"""Models on the Hugging Face hub: ``hf://`` and LayoutParser's ``lp://`` in the place of a path, and a way to push.

Needs ``pip install litepred[hub]``. Nothing is imported before it is used.
"""

from .. import extensions

extensions.announce(addresses={"hf": "litepred.hub.places:from_hub", "lp": "litepred.hub.places:from_layoutparser"})
