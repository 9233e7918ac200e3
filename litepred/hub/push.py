"""Write a model's repository, and bring it to the hub."""

from __future__ import annotations

from pathlib import Path

from ..checkpoint import read_checkpoint
from ..checkpoint.bundle import read_class_names
from ..errors import CheckpointError, ConfigError
from ..files import whole_file
from ..resolve import class_kind, embedded_config
from .card import model_card
from .places import hub, parse, reason

__all__ = ["push", "write_companions"]


def write_companions(folder: Path, address: str, license: str | None = None) -> None:
    """Write ``config.yaml`` and the model card, ``README.md``, beside a folder's ``model.safetensors``.

    Args:
        folder: whose file has a config in it, as ``litepred convert`` writes it.
        address: that the folder is to have on the hub.
        license: of the weights, by the hub's name for it.

    Raises:
        ConfigError: there is no config in the file.
        WriteError: the folder cannot be written to.
    """
    bundle = read_checkpoint(folder / "model.safetensors")
    cfg = embedded_config(bundle)
    if cfg is None:
        raise ConfigError("the weights have no config with them, without which nobody could run them: pass --config")
    card = model_card(cfg, read_class_names(bundle), class_kind(cfg)[1], parse(address), license)
    for name, text in (("config.yaml", cfg.dump()), ("README.md", card)):
        with whole_file(folder / name) as file:
            file.write(text.encode())


def push(folder: Path, address: str, *, private: bool = False, message: str = "Add a model") -> str:
    """Bring a folder's files to the hub, in one commit, into a repository that is made if it is not there.

    Returns:
        The commit's address, for a browser.

    Raises:
        CheckpointError: the hub does not take them.
        LitepredError: huggingface_hub is not installed.
    """
    repo, revision, path = parse(address)
    api = hub()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo, folder_path=folder, path_in_repo=path or ".", revision=revision, commit_message=message
        )
    except Exception as error:  # of the hub's package, of the network
        raise CheckpointError(f"{address} could not be pushed to: {reason(error)}") from error
    return str(commit.commit_url)
