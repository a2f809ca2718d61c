"""What the web page replaces inside Gradio, and the check that Gradio still has and uses it."""

import inspect
import secrets

import gradio as gr
from gradio import processing_utils, route_utils
from gradio.blocks import Block
from gradio_client.utils import is_http_url_like

from utils.cli import UserError

TESTED = "6.31.0"  # version of Gradio
_REPLACED = (  # owner, name, and the module and name of what uses it
    (route_utils, "GradioUploadFile", route_utils, "GradioMultiPartParser"),
    (Block, "async_move_resource_to_block_cache", processing_utils, "async_move_files_to_cache"),
)


def check_gradio() -> None:
    """UserError for a Gradio in which replacing the parts would be without effect."""
    for owner, name, module, user in _REPLACED:
        code = getattr(module, user, None)
        if not hasattr(owner, name) or code is None or name not in inspect.getsource(code):
            raise UserError(f"Gradio {gr.__version__} is built differently ({user} has no {name}), so the page cannot "
                            "keep uploads apart and refuse addresses; take the version it was tested with: pip install "
                            f"gradio=={TESTED}")  # fmt: skip


def replace_parts(page: gr.Blocks) -> None:
    """Keep equal uploads apart, and refuse addresses that are sent instead of files."""
    route_utils.GradioUploadFile = _of_its_own(route_utils.GradioUploadFile)
    for block in page.blocks.values():
        block.async_move_resource_to_block_cache = _refuse_address


def _of_its_own(upload_file: type) -> type:
    """Gradio stores equal uploads once, so the first user's answer would remove the second user's file."""

    class OwnUploadFile(upload_file):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)
            self.sha.update(secrets.token_bytes(16))

    return OwnUploadFile


async def _refuse_address(path: str | None) -> str | None:
    """In the place of Gradio's own step, which would download an address."""
    if path is not None and is_http_url_like(path):
        raise gr.Error("send the file itself, not its address", print_exception=False)
    return path
