"""Models to the Hub, each with its card."""

from __future__ import annotations

import tempfile
from pathlib import Path

from torch import nn

from cospeech.errors import ModelNotFoundError
from cospeech.hub.card import ModelCard, save_card
from cospeech.hub.checkpoint import save_model

__all__ = ["push_to_hub"]


def push_to_hub(
    model: nn.Module | Path,
    repository: str,
    *,
    card: ModelCard,
    private: bool = True,
    token: str | None = None,
    revision: str | None = None,
    message: str = "Upload with cospeech",
) -> str:
    """Upload a model with its card. Pipelines have a method of this name.

    Args:
        model: A model that ``save_model`` saves, or a folder of ours; a card that lies in it is replaced.
        repository: ``"owner/name"``; made if it is not there.
        card: What people must know of it. There is no default, since nobody but you knows the licences.
        private: Whether a new repository is for its owner only.
        token: Of the account; by default the one that ``HF_TOKEN`` or ``hf auth login`` gives.
        revision: The branch to write.
        message: Of the commit.

    Returns:
        The address of the commit.

    Raises:
        TypeError: If the model cannot be saved.
        CheckpointError: If there is no room to save it.
        ModelNotFoundError: If the Hub cannot be reached, or refuses.
    """
    import huggingface_hub

    with tempfile.TemporaryDirectory(prefix="cospeech-") as name:
        folder = Path(name)
        if isinstance(model, nn.Module):
            save_model(model, folder)
        else:
            folder = model
        save_card(card, folder)
        api = huggingface_hub.HfApi(token=token)
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repository, folder_path=folder, commit_message=message, revision=revision
            )
        except Exception as error:  # the client lets the errors of its HTTP library through, which changes with it
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise ModelNotFoundError(f"{repository} could not be written on the Hub: {reason}") from error
    return str(commit.commit_url)
