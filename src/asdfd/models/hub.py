"""The Hugging Face hub: asked again where it is unwell or the network is, and what it refuses as one line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from asdfd.base.errors import InputError

PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try. Kubeflow tries no task again that ended in an error, so a moment's trouble must not end one."""
UNWELL = (429, 500, 502, 503, 504)
"""Answers of a hub that may be well again in a moment, or that is asked too often."""
Answer = TypeVar("Answer")


def patiently(action: Callable[[], Answer]) -> Answer:
    """Do something with the hub, and again where it failed for a reason that may be gone in a moment."""
    for pause in PAUSES:
        try:
            return action()
        except Exception as error:
            if not may_pass(error):
                raise
            time.sleep(pause)
    return action()


def may_pass(error: BaseException) -> bool:
    """Whether the network or a sick server is to blame; not where nothing was asked since the hub is switched off here."""
    from huggingface_hub import constants, errors

    if constants.is_offline_mode() or isinstance(error, errors.OfflineModeIsEnabled):
        return False
    if isinstance(error, errors.LocalEntryNotFoundError):  # what it makes of a hub that cannot be reached, or fails
        return error.__cause__ is None or may_pass(error.__cause__)
    if isinstance(error, errors.HTTPError):  # pyright: ignore[reportPrivateImportUsage]  # the base of what its HTTP client raises
        response = getattr(error, "response", None)
        return response is None or response.status_code in UNWELL
    return isinstance(error, ConnectionError | TimeoutError)


@contextmanager
def explained(reference: str, revision: str) -> Iterator[None]:
    """Turn what goes wrong with a model or a data set of the hub into an InputError of one line; empty is the revision that the hub takes by itself."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        problem = "is gated, and this account has no access; ask for it on its page and set HF_TOKEN"
    except errors.RepositoryNotFoundError:
        problem = "nothing of this name is on the hub, or it is private; check the name, or set HF_TOKEN"
    except errors.RevisionNotFoundError:
        problem = f"has no revision {revision}; take a commit or a tag from its page"
    except errors.LocalEntryNotFoundError:
        problem = "the hub cannot be reached and the local cache does not hold all of it; check the network and HF_HUB_OFFLINE, or name a folder or s3://..."
    except (errors.HTTPError, OSError, ValueError) as error:  # pyright: ignore[reportPrivateImportUsage]
        problem = f"the hub could not be read ({type(error).__name__}); try again, or name a folder or s3://..."
    else:
        return
    raise InputError(f"{reference}: {problem}")
